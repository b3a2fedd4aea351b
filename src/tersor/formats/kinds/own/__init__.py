"""tersor's own format, ``quant_method: "tersor"``: what compressed-tensors cannot express.

Codebooks (log2, NF4, k-means), FP8 E5M2, ragged last groups, and GPT-2's transposed linears. Tensor
names and packing are the same as in compressed-tensors.
"""

from tersor.formats.kinds.own.format import TersorFormat

FORMAT = TersorFormat()
