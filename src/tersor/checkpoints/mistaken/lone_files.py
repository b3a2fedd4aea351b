"""Files that are given where a model directory, or a GGUF file, is meant."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from tersor.checkpoints.files import LFS_POINTER
from tersor.checkpoints.source import GGUF_MAGIC

UNFINISHED = (".incomplete", ".part", ".crdownload", ".aria2", ".download")

_HEAD_BYTES = 512
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_ARCHIVES = (
    b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c",
)  # fmt: skip
_TAR, _TAR_AT = b"ustar", 257
_ELSEWHERE = {
    ".onnx": "an ONNX graph",
    ".h5": "weights for TensorFlow",
    ".keras": "a Keras model",
    ".msgpack": "weights for Flax",
    ".npz": "NumPy arrays",
    ".tflite": "a TensorFlow Lite model",
    ".mlmodel": "a Core ML model",
    ".pte": "an ExecuTorch program",
    ".engine": "a TensorRT engine",
}
_UNKNOWN = "neither a GGUF file nor a directory; give the directory with config.json"
_OLD_GGML = (b"tjgg", b"fmgg", b"lmgg")


def mistaken_file(path: Path) -> str | None:
    """What a file is and what to do; ``None`` for a GGUF file."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.name.endswith(UNFINISHED):
        return "a download that is not finished; run it again"
    if head.startswith(LFS_POINTER):
        return "a Git LFS pointer, not the file itself; run: git lfs pull"
    if path.suffix == ".gguf" or head.startswith(GGUF_MAGIC):
        return None
    if not head:
        return "an empty file; download it again, and give the directory with config.json"
    return _by_name(path) or _by_content(path, head) or _UNKNOWN


def _by_name(path: Path) -> str | None:
    suffix = path.suffix
    if suffix == ".safetensors":
        return f"weights alone, without config.json; {_directory_of(path)}"
    if suffix in _PICKLES:
        return f"pickled weights alone; {_directory_of(path)}, and --allow-pickle if you trust it"
    if suffix in _ELSEWHERE:
        return f"{_ELSEWHERE[suffix]}, which tersor does not read; {_directory_of(path)}"
    if suffix == ".json":
        return f"a single file of a model; {_directory_of(path)}"
    if suffix in (".yaml", ".yml"):
        return "a YAML file, no model; a recipe goes to --recipe"
    return None


def _by_content(path: Path, head: bytes) -> str | None:
    if head.startswith(_OLD_GGML):
        return "a file of the format before GGUF; convert it with llama.cpp, or start from another"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return f"safetensors, weights alone; {_directory_of(path)}"
    if head.startswith(b"\x80") or (zipfile.is_zipfile(path) and _is_pickle(path)):
        return f"pickled weights alone; {_directory_of(path)}, and --allow-pickle if you trust it"
    if head.startswith(_ARCHIVES) or head[_TAR_AT:].startswith(_TAR):
        return "an archive; unpack it and give the directory with config.json"
    return None


def _is_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _directory_of(path: Path) -> str:
    directory = path.parent
    if (directory / "config.json").exists():
        return f"give its directory, {directory}"
    return "give the directory that holds it and config.json"


def listed(names: Iterable[object], most: int = 4) -> str:
    """Names in order, the first few by name."""
    found = sorted(map(str, names))
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
