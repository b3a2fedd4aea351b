"""A model at work: ``generate``."""

from tersor.options import AnyPath, one_path
from tersor.runtime.conversation.generate import generate_text


def generate(directory: AnyPath, prompt: str, *, max_new_tokens: int = 64) -> str:
    """Greedy continuation of ``prompt``. Raises a :class:`~tersor.errors.TersorError`."""
    return generate_text(one_path("directory", directory), prompt, max_new_tokens=max_new_tokens)
