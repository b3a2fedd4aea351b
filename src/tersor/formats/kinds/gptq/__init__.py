"""GPTQ checkpoints, as AutoGPTQ, GPTQModel and transformers have them.

``W = scales[g]·(q − z)``. The first version of the format stores ``z − 1``, the second z.
"""

from tersor.formats.kinds.gptq.format import GptqFormat

FORMAT = GptqFormat()
