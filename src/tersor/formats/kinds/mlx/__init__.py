"""MLX's directories, as mlx-lm writes and reads them: affine groups, ``w = scale·q + bias``."""

from tersor.formats.kinds.mlx.format import MlxFormat

FORMAT = MlxFormat()
"""The format as a value."""
