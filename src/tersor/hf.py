"""Importing this module teaches transformers to load ``quant_method: "tersor"``.

::

    import tersor.hf
    model = AutoModelForCausalLM.from_pretrained(directory)

:func:`tersor.load` needs no such care, nor do artifacts in compressed-tensors format.
"""

from tersor.runtime import transformers_plugin

__all__ = ["transformers_plugin"]
