"""``generate``: text from a model directory."""

from collections.abc import Callable
from pathlib import Path

import torch

from tersor.errors import TextError
from tersor.runtime.load import load, load_tokenizer


def generate_text(
    directory: Path,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """The greedy continuation of ``prompt``, without the prompt.

    ``on_text`` receives it piece by piece while it is made. Raises :class:`TextError` if the prompt
    is empty, and what :func:`tersor.load` raises.
    """
    if not prompt:
        raise TextError("the prompt is empty; give some text with --prompt")
    from transformers import TextStreamer

    pieces: list[str] = []

    class Streamer(TextStreamer):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            del stream_end
            pieces.append(text)
            if on_text is not None:
                on_text(text)

    tokenizer = load_tokenizer(directory)
    model = load(directory)
    inputs = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            streamer=Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
        )
    return "".join(pieces)
