"""Of what packed weights are packed, and how: two keys that no copy can have."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tersor.checkpoints.huggingface.directory import INDEX, SINGLE
from tersor.checkpoints.huggingface.shards import read_index
from tersor.digest import tensor_digest
from tersor.grids import (
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    StoredScale,
    Symmetry,
    TensorScheme,
    nf4,
)
from tersor.runtime.linears.kernels import ACTIVATION_GROUP, PackedLinear, pack_linear
from tersor.runtime.linears.native_weights import eight_bits
from tersor.version import versions

# Clocks of file systems tick every 10 ms or more often.
_TICK_NS = 20_000_000
# More rows than a panel has and more columns than a group, both with a rest.
_ROWS, _COLUMNS = 18, 140


def contents_key(directory: Path) -> str:
    """Stands for what the files of a model directory hold that weights are read from.

    Every file's device, inode, size and times, of which nothing can set the time of change: a copy
    over a file, another file in its place and a write that puts the other time back all change the
    key. So do copies and moves to other places, which hold the same; those are packed anew.

    Raises :class:`OSError` and :class:`~tersor.errors.SourceError`.
    """
    names = ["config.json", SINGLE]
    if not (directory / SINGLE).exists():
        names = ["config.json", INDEX, *sorted(set(read_index(directory / INDEX).values()))]
    files = [directory / name for name in names]
    # A file may change again within the tick in which it was changed last, and look the same.
    if time.time_ns() - max(file.stat().st_ctime_ns for file in files) < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
    states = []
    for name, file in zip(names, files, strict=True):
        found = file.stat()
        times = (found.st_mtime_ns, found.st_ctime_ns)
        states.append((name, found.st_dev, found.st_ino, found.st_size, *times))
    return _digest(repr(states))


def layout_key() -> str:
    """Stands for how weights are packed: tersor's version, and what becomes of examples.

    One for every form in which codes, scales and zero points lie, so whatever changes the layout
    (panels, widths, groups, types of scales, rounding to 8 bits) changes the key by itself.
    """
    return _digest(repr([versions().get("tersor"), *map(_facts, _examples())]))


def _examples() -> Iterator[PackedLinear]:
    group = (Granularity.GROUP, 32)
    schemes = [TensorScheme(IntegerGrid(bits), *group) for bits in (2, 3, 4, 5, 8)]
    schemes += [TensorScheme(IntegerGrid(bits, Symmetry.NONE), *group) for bits in (4, 8)]
    schemes += [TensorScheme(IntegerGrid(4), Granularity.CHANNEL), TensorScheme(nf4(), *group)]
    for scheme in schemes:
        yield pack_linear(_example(scheme, torch.bfloat16), ACTIVATION_GROUP)
    yield pack_linear(_example(schemes[0], torch.float32), ACTIVATION_GROUP)
    yield eight_bits(torch.arange(_ROWS * _COLUMNS).remainder(97).view(_ROWS, _COLUMNS).float())


def _example(scheme: TensorScheme, dtype: torch.dtype) -> QuantizedTensor:
    """Every code in turn, and scales that are no bfloat16 if ``dtype`` is wider."""
    grid, groups = scheme.grid, scheme.groups(_COLUMNS)
    first = 0 if grid.integers is None else grid.integers.lowest
    codes = torch.arange(_ROWS * _COLUMNS).remainder(1 << grid.bits).add(first).to(grid.code_dtype)
    scales = torch.arange(1, 1 + _ROWS * groups).div(1 << 10).to(dtype).view(_ROWS, groups)
    zeros = None if grid.symmetric else codes[: _ROWS * groups].view(_ROWS, groups)
    stored = StoredScale(scales, ScaleFormat.FLOAT)
    return QuantizedTensor(codes.view(_ROWS, _COLUMNS), stored, zeros, scheme)


def _facts(packed: PackedLinear) -> tuple[str, tuple[int, ...]]:
    arrays = tensor_digest((packed.codes, packed.scales, packed.zeros, packed.levels))
    return arrays, (packed.zero, packed.rows, packed.columns, packed.group, packed.bits)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
