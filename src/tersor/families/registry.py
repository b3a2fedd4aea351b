"""What is known, by the names that files have for it. A new family is one more line here."""

from collections.abc import Mapping
from types import MappingProxyType

from tersor.families.family import Family, Outer
from tersor.families.known.gemma.gemma2 import GEMMA2
from tersor.families.known.gemma.gemma3 import GEMMA3
from tersor.families.known.gpt.gpt2 import GPT2
from tersor.families.known.gpt.gpt_neox import GPT_NEOX
from tersor.families.known.gpt.opt import OPT
from tersor.families.known.llama import LLAMA
from tersor.families.known.mistral import MISTRAL
from tersor.families.known.mixtral import MIXTRAL
from tersor.families.known.phi3 import PHI3
from tersor.families.known.qwen.qwen2 import QWEN2
from tersor.families.known.qwen.qwen3 import QWEN3
from tersor.families.known.qwen.qwen3_moe import QWEN3_MOE
from tersor.families.run.centred import PHI, STABLELM, STARCODER2
from tersor.families.run.cohere import COHERE2
from tersor.families.run.ernie import ERNIE4_5, ERNIE4_5_MOE
from tersor.families.run.exaone import EXAONE4
from tersor.families.run.glm import GLM, GLM4, GLM4_MOE
from tersor.families.run.granite import GRANITE, GRANITEMOE
from tersor.families.run.hunyuan import HUNYUAN, HUNYUAN_MOE
from tersor.families.run.like_llama import APERTUS, MINISTRAL, SEED_OSS, SMOLLM3
from tersor.families.run.olmo import OLMO2, OLMO3, OLMOE
from tersor.families.run.qwen import QWEN2_MOE
from tersor.families.runnable import Runnable

_KNOWN = (
    *(LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3),
    *(OPT, GPT2, GPT_NEOX, MIXTRAL, QWEN3_MOE),
)
_OUTER = (
    Outer("gemma3", text="gemma3_text", tied=True),
    Outer("mistral3", text="mistral", tied=True),
    Outer("internvl", text="qwen2", tied=True),
    Outer("idefics3", text="llama", tied=False),
    Outer("smolvlm", text="llama", tied=False),
    Outer("llava", text="llama", tied=False, tied_by_text=True),
    Outer("llava_next", text="llama", tied=False),
    Outer("llava_onevision", text="qwen2", tied=False, tied_by_text=True),
)

_FOUND = (
    *(MINISTRAL, SMOLLM3, SEED_OSS, APERTUS, OLMO2, OLMO3, GLM, GLM4, GRANITE, COHERE2, EXAONE4),
    *(ERNIE4_5, HUNYUAN, STARCODER2, STABLELM, PHI),
    *(OLMOE, QWEN2_MOE, GLM4_MOE, GRANITEMOE, ERNIE4_5_MOE, HUNYUAN_MOE),
)

FAMILIES: dict[str, Family] = {one.model_type: one for one in _KNOWN}
"""By ``model_type`` of ``config.json``."""
OUTER: Mapping[str, Outer] = MappingProxyType({one.model_type: one for one in _OUTER})
"""Models with other parts, by their ``model_type``."""
GGUF: Mapping[tuple[str, bool], Family] = MappingProxyType(
    # Mistral's files call themselves Llama's: the first of a name is what they are read as.
    {(one.gguf.name, one.gguf.experts): one for one in reversed(_KNOWN) if one.gguf is not None}
)
"""By llama.cpp's architecture and whether there are experts."""
RUNNABLE: Mapping[str, Runnable] = MappingProxyType(
    {
        one.model_type: Runnable(one.model_type, one.defaults, one.decoder)
        for one in _KNOWN
        if one.decoder is not None
    }
    | {one.model_type: one for one in _FOUND}
)
"""What the engine runs, by ``model_type``; of some, quantizing finds out the rest itself."""
