"""Which level of instructions the native kernels use.

The best that the machine has; ``TERSOR_ISA`` (``portable``, ``avx2``,
``avx_vnni``, ``avx512_vnni``, ``avx512_bf16``, ``amx``; on AArch64
``portable``, ``neon_dotprod``, ``neon_i8mm``) forces another.
"""

import os

from tersor import _native
from tersor.errors import MachineError

_LEVELS = (
    *("amx", "avx512_bf16", "avx512_vnni", "avx512vl_vnni", "avx_vnni", "avx2"),
    *("neon_i8mm", "neon_dotprod"),
    "portable",
)
# Those that multiply tiles of bfloat16.
TILED_LEVELS = ("amx",)


def level() -> str:
    """The level of kernels that will run.

    Raises :class:`MachineError` if ``TERSOR_ISA`` names one that this machine does not have.
    """
    wanted = os.environ.get("TERSOR_ISA", "")
    if not wanted:
        return _native.best_level()
    if not _native.has_level(wanted):
        raise MachineError(
            f"TERSOR_ISA={wanted}: this machine cannot run it; it has {', '.join(levels())}"
        )
    return wanted


def levels() -> tuple[str, ...]:
    """The levels that this machine can run, best first."""
    return tuple(name for name in _LEVELS if _native.has_level(name))
