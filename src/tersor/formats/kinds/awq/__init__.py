"""AWQ checkpoints in AutoAWQ's layout for matrix products (``gemm``), of 4 bits."""

from tersor.formats.kinds.awq.format import AwqFormat

FORMAT = AwqFormat()
