"""Directories that are no model's, or hold a model only in part."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.checkpoints.mistaken.absent import snapshots
from tersor.checkpoints.mistaken.lone_files import UNFINISHED, listed

WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json",
    "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
# Where huggingface_hub keeps what it has downloaded in part, beside a model.
_DOWNLOADS = Path(".cache/huggingface/download")
_SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
_ELSEWHERE = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "rust_model.ot": "Rust",
    "openvino_model.xml": "OpenVINO",
    "weights.npz": "MLX",
    "genai_config.json": "ONNX Runtime",
    "mlc-chat-config.json": "MLC",
}


@dataclass(frozen=True)
class _Directory:
    """``lacks``: what a model has and this one has not."""

    path: Path
    names: frozenset[str]
    lacks: str

    def ending(self, *endings: str) -> list[str]:
        return sorted(name for name in self.names if name.endswith(endings))


def mistaken_directory(path: Path) -> str | None:
    """What a directory is and what to do; ``None`` if it has a config and weights."""
    names = frozenset(entry.name for entry in path.iterdir())
    weights = any((path / name).exists() for name in WEIGHTS)
    if CONFIG in names and weights:
        return None
    lacks = f"weights ({WEIGHTS[0]} or {WEIGHTS[1]})" if CONFIG in names else CONFIG
    directory = _Directory(path, names, lacks)
    found = (recognise(directory) for recognise in _RECOGNISED)
    return next((what for what in found if what is not None), _nothing_known(directory))


def _unfinished(found: _Directory) -> str | None:
    parts = [*found.ending(*UNFINISHED), *_in_part(found.path)]
    if not parts:
        return None
    return f"a download that is not finished ({parts[0]}); run it again, then give the directory"


def _in_part(path: Path) -> list[str]:
    return [part.name for part in (path / _DOWNLOADS).rglob(f"*{UNFINISHED[0]}")]


def _adapter(found: _Directory) -> str | None:
    if ADAPTER_CONFIG not in found.names:
        return None
    return (
        f"an adapter (LoRA) without the model that it changes; put {ADAPTER_CONFIG} and its "
        "weights into a copy of that model's directory and give that with --merge-adapter"
    )


def _diffusion(found: _Directory) -> str | None:
    if "model_index.json" not in found.names:
        return None
    return "a diffusion pipeline (model_index.json); tersor quantizes language models"


def _cached(found: _Directory) -> str | None:
    inside = snapshots(found.path)
    if not inside:
        return None
    return f"an entry of a download cache; give the model in it, {inside[0]}"


def _only_gguf(found: _Directory) -> str | None:
    files = found.ending(".gguf")
    if not files:
        return None
    if len(files) == 1:
        return f"holds no {found.lacks}; give the file {files[0]} itself"
    return f"holds no {found.lacks}; give one of its files itself: {listed(files)}"


def _onnx(found: _Directory) -> str | None:
    inside = found.ending(".onnx")
    if CONFIG in found.names:  # exports keep their graphs below it
        inside += sorted(path.name for path in (found.path / "onnx").glob("*.onnx"))
    if not inside:
        return None
    return f"an ONNX export ({inside[0]}); give the directory of the model that it was made from"


def _of_another_engine(found: _Directory) -> str | None:
    name = next((name for name in _ELSEWHERE if name in found.names), None)
    if name is not None:
        return (
            f"a model for {_ELSEWHERE[name]} ({name}) and no {found.lacks}; "
            "give the directory of the model that it was made from"
        )
    if "params.json" in found.names and found.ending(".pth", ".safetensors"):
        return (
            "a model in its maker's own format (params.json); convert it with transformers' "
            "script, or download the files for transformers"
        )
    return None


def _weights_named_otherwise(found: _Directory) -> str | None:
    files = found.ending(".safetensors") or found.ending(".bin", ".pt", ".pth")
    if not files:
        return None
    shard = next((match for name in files if (match := _SHARD.fullmatch(name))), None)
    if found.lacks == CONFIG:
        return f"holds weights ({files[0]}) and no {CONFIG}; download the model's other files too"
    if shard is not None:
        index = next(name for name in WEIGHTS if name == f"{shard[1]}.{shard[2]}.index.json")
        return f"holds shards of weights and no {index}; download that file too"
    return f"holds no {found.lacks}, but {files[0]}; rename it if it is the whole model"


def _holds_models(found: _Directory) -> str | None:
    inside = [name for name in sorted(found.names) if (found.path / name / CONFIG).exists()]
    if inside:
        return f"not a model directory, but holds some; give one of them: {listed(inside)}"
    cached = [path for name in sorted(found.names) for path in snapshots(found.path / name)]
    if cached:
        return f"a download cache; give a model in it, {cached[0]} say"
    files = sorted(path for path in found.path.glob("*/*.gguf"))
    if files:
        return f"not a model directory; give one of the files below it: {listed(files)}"
    return None


def _only_tokenizer(found: _Directory) -> str | None:
    if CONFIG in found.names or not any(name in found.names for name in _TOKENIZERS):
        return None
    return f"a tokenizer without a model: it holds no {CONFIG} and no weights; download them"


def _nothing_known(found: _Directory) -> str:
    if not found.names:
        return f"an empty directory; give a model directory, which holds {CONFIG} and weights"
    if found.lacks == CONFIG:
        return f"not a model directory, it holds no {CONFIG}"
    return f"holds no {found.lacks}; download them"


_RECOGNISED: tuple[Callable[[_Directory], str | None], ...] = (
    _unfinished,
    _adapter,
    _diffusion,
    _cached,
    _only_gguf,
    _onnx,
    _of_another_engine,
    _weights_named_otherwise,
    _holds_models,
    _only_tokenizer,
)
