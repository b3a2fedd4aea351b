"""tersor: quantize large language models, and say exactly what was lost.

::

    import tersor

    tersor.quantize("SmolLM2-135M", "SmolLM2-135M-w4", "w4")
    model = tersor.load("SmolLM2-135M-w4")            # a transformers model
    tersor.evaluate("SmolLM2-135M-w4", base="SmolLM2-135M")

Names are imported when they are first used, so that ``import tersor`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tersor.api.quantizing import compare, evaluate, generate, quantize, restore
    from tersor.recipes import Adjustments, Recipe, load_recipe
    from tersor.runtime.engine.engine import Engine, Token
    from tersor.runtime.engine.options import EngineOptions
    from tersor.runtime.engine.sampling import Sampling
    from tersor.runtime.load import load

    __version__: str

__all__ = [
    "Adjustments",
    "Engine",
    "EngineOptions",
    "Recipe",
    "Sampling",
    "Token",
    "__version__",
    "compare",
    "evaluate",
    "generate",
    "load",
    "load_recipe",
    "quantize",
    "restore",
]

_HOMES = {
    "compare": "tersor.api.quantizing",
    "evaluate": "tersor.api.quantizing",
    "generate": "tersor.api.quantizing",
    "quantize": "tersor.api.quantizing",
    "restore": "tersor.api.quantizing",
    "load": "tersor.runtime.load",
    "Engine": "tersor.runtime.engine.engine",
    "EngineOptions": "tersor.runtime.engine.options",
    "Token": "tersor.runtime.engine.engine",
    "Sampling": "tersor.runtime.engine.sampling",
    "Adjustments": "tersor.recipes",
    "Recipe": "tersor.recipes",
    "load_recipe": "tersor.recipes",
}

# A checker that saw this function would take any name for one of the package's.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from tersor.version import own_version

            return own_version()
        if name not in _HOMES:
            raise AttributeError(f"module 'tersor' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
