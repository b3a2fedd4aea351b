"""What a context costs in memory, from the plan of a model alone."""

from tersor.machine.memory import machine_bytes, refuse_beyond_memory
from tersor.runtime.decoder.plan import DecoderPlan

_ELEMENT = {"float32": 4, "float16": 2, "bfloat16": 2, "int16": 2, "int8": 1}


def least_bytes(plan: DecoderPlan, cache: str, context: int, batch: int) -> int:
    """What keys, values and rotary tables of ``batch`` sequences take at least.

    A layer with a window needs no more than its window.
    """
    held = 0
    for layer in plan.layers:
        mixer = layer.mixer
        seen = min(mixer.window or context, context)
        held += 2 * mixer.key_heads * mixer.head_size * seen * _ELEMENT[cache] * batch
    tables = sum(len(rope.frequencies) for rope in plan.ropes)
    return held + 2 * tables * 4 * context


def refuse_too_long(plan: DecoderPlan, cache: str, context: int, batch: int) -> None:
    """Raise :class:`~tersor.errors.OutOfMemory` for a context that this machine cannot hold."""
    one = max(least_bytes(plan, cache, 1024, batch) // 1024, 1)
    fits = machine_bytes() // one
    refuse_beyond_memory(
        least_bytes(plan, cache, context, batch),
        f"a context of {context} tokens" + f" for {batch} sequences at a time" * (batch > 1),
        f"a context of {fits} is the longest that could fit",
    )
