"""``generate``: text from a model directory."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import torch

from tersor.runtime.load import load, load_tokenizer


def generate_text(
    directory: Path,
    prompt: str,
    *,
    max_new_tokens: int = 64,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """The greedy continuation of ``prompt``, without the prompt.

    ``on_text`` receives it piece by piece while it is made.
    """
    from transformers import TextIteratorStreamer

    model, tokenizer = load(directory), load_tokenizer(directory)
    inputs = tokenizer(prompt, return_tensors="pt")
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    thread = Thread(
        target=_run,
        args=(model, {**inputs, "max_new_tokens": max_new_tokens, "streamer": streamer}),
        daemon=True,
    )
    thread.start()
    pieces = []
    for piece in streamer:
        pieces.append(piece)
        if on_text is not None:
            on_text(piece)
    thread.join()
    return "".join(pieces)


def _run(model: torch.nn.Module, options: dict[str, object]) -> None:
    with torch.inference_mode():
        model.generate(**options, do_sample=False)  # type: ignore[operator]
