"""The types of blocks that are run as they are."""

from collections.abc import Mapping

from tersor.formats.kinds.gguf.block_type import Blocks
from tersor.formats.kinds.gguf.k_blocks import Q2_K, Q3_K, Q4_K, Q5_K, Q6_K
from tersor.formats.kinds.gguf.plain_blocks import MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0
from tersor.formats.kinds.gguf.table_blocks import IQ4_NL, IQ4_XS

TYPES: Mapping[str, Blocks] = {
    one.name: one()
    for one in (
        *(Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4),
        *(Q2_K, Q3_K, Q4_K, Q5_K, Q6_K),
        *(IQ4_NL, IQ4_XS),
    )
}
"""By llama.cpp's names."""
