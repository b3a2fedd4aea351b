"""What a context costs in memory, from the shape of a model alone."""

from tersor.machine.memory import machine_bytes, refuse_beyond_memory
from tersor.runtime.decoder.shape import DecoderShape

_ELEMENT = {"float32": 4, "float16": 2, "bfloat16": 2, "int16": 2, "int8": 1}


def least_bytes(shape: DecoderShape, cache: str, context: int, batch: int) -> int:
    """What keys, values and rotary tables of ``batch`` sequences take at least.

    A layer with a window needs no more than its window.
    """
    seen = sum(min(window or context, context) for window in shape.windows)
    held = 2 * shape.key_heads * shape.head_size * _ELEMENT[cache] * seen * batch
    return held + len(shape.ropes) * 2 * shape.head_size * 4 * context


def refuse_too_long(shape: DecoderShape, cache: str, context: int, batch: int) -> None:
    """Raise :class:`~tersor.errors.OutOfMemory` for a context that this machine cannot hold."""
    one = max(least_bytes(shape, cache, 1024, batch) // 1024, 1)
    fits = machine_bytes() // one
    refuse_beyond_memory(
        least_bytes(shape, cache, context, batch),
        f"a context of {context} tokens" + f" for {batch} sequences at a time" * (batch > 1),
        f"a context of {fits} is the longest that could fit",
    )
