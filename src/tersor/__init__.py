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
    from tersor.api.exchanging import check, export, import_checkpoint, upload
    from tersor.api.explaining import explain, explain_weight, inspect
    from tersor.api.keeping import cache_contents, clear_cache, status
    from tersor.api.measuring import compare, evaluate
    from tersor.api.quantizing import plan, quantize, restore
    from tersor.api.running import bench, converse, generate, stream
    from tersor.api.sensitivity import sensitivity
    from tersor.checkpoints.hub.sending import UploadResult
    from tersor.errors import TersorError
    from tersor.evaluation import Evaluation
    from tersor.explaining import Explanation
    from tersor.pipeline.exchange.check import CheckResult
    from tersor.pipeline.exchange.convert import ConvertResult
    from tersor.pipeline.inspecting.found import (
        ArtifactInspection,
        ModelInspection,
        PairInspection,
    )
    from tersor.pipeline.inspecting.weight import WeightExplanation
    from tersor.pipeline.journal.status import RunStatus
    from tersor.pipeline.planning import Plan
    from tersor.pipeline.result import QuantizeResult
    from tersor.pipeline.sensitivity.result import SensitivityResult
    from tersor.pipeline.studies.comparison import CompareResult
    from tersor.pipeline.studies.found import EvaluateResult
    from tersor.recipes import Preset, Recipe, list_presets, load_recipe
    from tersor.runtime.conversation.chat import Conversation
    from tersor.runtime.engine.engine import Engine, Token
    from tersor.runtime.engine.sampling import Sampling
    from tersor.runtime.load import load
    from tersor.runtime.measuring.bench import BenchResult
    from tersor.runtime.packed.contents import CacheContents

    __version__: str

__all__ = [
    "ArtifactInspection",
    "BenchResult",
    "CacheContents",
    "CheckResult",
    "CompareResult",
    "Conversation",
    "ConvertResult",
    "Engine",
    "EvaluateResult",
    "Evaluation",
    "Explanation",
    "ModelInspection",
    "PairInspection",
    "Plan",
    "Preset",
    "QuantizeResult",
    "Recipe",
    "RunStatus",
    "Sampling",
    "SensitivityResult",
    "TersorError",
    "Token",
    "UploadResult",
    "WeightExplanation",
    "__version__",
    "bench",
    "cache_contents",
    "check",
    "clear_cache",
    "compare",
    "converse",
    "evaluate",
    "explain",
    "explain_weight",
    "export",
    "generate",
    "import_checkpoint",
    "inspect",
    "list_presets",
    "load",
    "load_recipe",
    "plan",
    "quantize",
    "restore",
    "sensitivity",
    "status",
    "stream",
    "upload",
]

_HOMES = {
    "bench": "tersor.api.running",
    "cache_contents": "tersor.api.keeping",
    "check": "tersor.api.exchanging",
    "export": "tersor.api.exchanging",
    "import_checkpoint": "tersor.api.exchanging",
    "CheckResult": "tersor.pipeline.exchange.check",
    "ConvertResult": "tersor.pipeline.exchange.convert",
    "clear_cache": "tersor.api.keeping",
    "compare": "tersor.api.measuring",
    "converse": "tersor.api.running",
    "evaluate": "tersor.api.measuring",
    "explain": "tersor.api.explaining",
    "explain_weight": "tersor.api.explaining",
    "generate": "tersor.api.running",
    "load": "tersor.runtime.load",
    "load_recipe": "tersor.recipes",
    "plan": "tersor.api.quantizing",
    "inspect": "tersor.api.explaining",
    "list_presets": "tersor.recipes",
    "quantize": "tersor.api.quantizing",
    "restore": "tersor.api.quantizing",
    "sensitivity": "tersor.api.sensitivity",
    "status": "tersor.api.keeping",
    "stream": "tersor.api.running",
    "upload": "tersor.api.exchanging",
    "BenchResult": "tersor.runtime.measuring.bench",
    "CacheContents": "tersor.runtime.packed.contents",
    "CompareResult": "tersor.pipeline.studies.comparison",
    "Conversation": "tersor.runtime.conversation.chat",
    "Engine": "tersor.runtime.engine.engine",
    "EvaluateResult": "tersor.pipeline.studies.found",
    "Evaluation": "tersor.evaluation",
    "Explanation": "tersor.explaining",
    "ArtifactInspection": "tersor.pipeline.inspecting.found",
    "ModelInspection": "tersor.pipeline.inspecting.found",
    "PairInspection": "tersor.pipeline.inspecting.found",
    "Plan": "tersor.pipeline.planning",
    "Preset": "tersor.recipes",
    "QuantizeResult": "tersor.pipeline.result",
    "Recipe": "tersor.recipes",
    "RunStatus": "tersor.pipeline.journal.status",
    "Sampling": "tersor.runtime.engine.sampling",
    "SensitivityResult": "tersor.pipeline.sensitivity.result",
    "TersorError": "tersor.errors",
    "Token": "tersor.runtime.engine.engine",
    "UploadResult": "tersor.checkpoints.hub.sending",
    "WeightExplanation": "tersor.pipeline.inspecting.weight",
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
