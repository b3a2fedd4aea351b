"""The index of a sharded checkpoint: which file holds which tensor, and nothing else."""

from collections.abc import Collection, Mapping
from pathlib import Path

from tersor.checkpoints.files import read_json, reading
from tersor.errors import SourceError, UnsafeSource


def read_index(path: Path) -> dict[str, str]:
    """Tensor name → shard file name, from ``*.index.json``.

    Every shard lies in the directory of the index itself (it may be a symbolic link, as in a
    download cache) and exists.

    Raises:
        UnsafeSource: a shard name that could leave the directory.
        SourceError: corrupt index or missing shard.
    """
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(f"{path}: no 'weight_map' of tensors to shards; download the index again")
    for name, shard in weight_map.items():
        if not isinstance(shard, str):
            raise SourceError(f"{path}: tensor {name!r} is mapped to {shard!r}, not to a file name")
    for shard in sorted(set(weight_map.values())):
        _refuse_path(path, shard)
        with reading(path.parent / shard):
            there = (path.parent / shard).is_file()
        if not there:
            raise SourceError(f"{path}: names the shard {shard!r}, which is missing; download it")
    return weight_map


def check_shard(path: Path, index: Mapping[str, str], shard: str, held: Collection[str]) -> None:
    """Hold the index (read from ``path``) against the tensor names ``held`` by one shard.

    Raises:
        SourceError: a tensor that is missing, in a second shard too, or unknown to the index.
    """
    advice = "download the checkpoint again"
    for name, expected in index.items():
        if expected == shard and name not in held:
            raise SourceError(f"{path}: tensor {name!r} is not in its shard {shard!r}; {advice}")
    for name in held:
        expected = index.get(name, "")
        if not expected:
            raise SourceError(f"{path}: does not know tensor {name!r} of {shard!r}; {advice}")
        if expected != shard:
            raise SourceError(f"{path}: tensor {name!r} is in {expected!r} and {shard!r}; {advice}")


def _refuse_path(index: Path, shard: str) -> None:
    separated = "/" in shard or "\\" in shard or "\0" in shard
    if separated or shard in ("", ".", "..") or Path(shard).drive:
        raise UnsafeSource(
            f"{index}: the shard name {shard!r} is a path, not a file of this directory; "
            "do not trust this checkpoint"
        )
