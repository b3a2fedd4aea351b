"""Packed linears in a file that is mapped (:mod:`~tersor.runtime.packed.container`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.runtime.linears.panels import PANEL, FixedInput, GroupNumbers, PackedLinear
from tersor.runtime.packed.container import (
    NONSENSE,
    Arrays,
    Origin,
    aligned,
    read_container,
    write_container,
)

_ARRAYS = ("codes", "zeros", "levels")
_GROUP_NUMBERS = ("scales", "minima")
_NUMBERS = ("zero", "rows", "columns", "group", "bits")


@dataclass(frozen=True)
class Packed:
    """What a file holds: ``linears`` by name, and the ``quantized`` modules of the artifact.

    ``quantized`` is ``None`` unless the artifact had passed every check when the file was written.
    """

    linears: Mapping[str, PackedLinear] = field(default_factory=dict)
    quantized: tuple[str, ...] | None = None

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Name and array, of all that the linears have."""
        for name, linear in self.linears.items():
            for kind in _ARRAYS:
                array = getattr(linear, kind)
                if array is not None:
                    yield f"{name}/{kind}", array
            for kind in _GROUP_NUMBERS:
                numbers: GroupNumbers | None = getattr(linear, kind)
                if numbers is not None:
                    yield f"{name}/{kind}", numbers.values
                    if numbers.steps is not None:
                        yield f"{name}/{kind}/steps", numbers.steps


def write_packed(path: Path, packed: Packed, origin: Origin) -> None:
    """Write a file, at once or not at all.

    Raises :class:`OSError`, and :class:`~tersor.errors.OutputBusy` if another process writes it.
    """
    entries = {
        name: {number: getattr(linear, number) for number in _NUMBERS}
        | {"rounded": linear.rounded, "fixed": linear.fixed}
        for name, linear in packed.linears.items()
    }
    facts = {"quantized": packed.quantized, "linears": entries}
    write_container(path, facts, dict(packed.arrays()), origin)


def packed_bytes(packed: Packed) -> int:
    """Bytes of the arrays of a file; its header takes a little more."""
    return sum(aligned(array.nbytes) for _, array in packed.arrays())


def read_packed(path: Path, key: str) -> Packed:
    """What a file holds, mapped; nothing unless it is whole and has the ``key``."""
    try:
        facts, arrays = read_container(path, key)
        linears = {name: _linear(arrays, name, e) for name, e in facts["linears"].items()}
        quantized = facts["quantized"]
        return Packed(linears, None if quantized is None else tuple(map(str, quantized)))
    except NONSENSE:
        return Packed()


def _linear(arrays: Arrays, name: str, entry: Mapping[str, Any]) -> PackedLinear:
    numbers = {number: int(entry[number]) for number in _NUMBERS}
    linear = PackedLinear(
        arrays[f"{name}/codes"],
        GroupNumbers(arrays[f"{name}/scales"], arrays.get(f"{name}/scales/steps")),
        arrays.get(f"{name}/zeros"),
        levels=arrays.get(f"{name}/levels"),
        minima=_minima(arrays, f"{name}/minima"),
        rounded=bool(entry["rounded"]),
        fixed=_fixed(entry["fixed"]),
        **numbers,
    )
    _check(linear)
    return linear


def _minima(arrays: Arrays, name: str) -> GroupNumbers | None:
    return GroupNumbers(arrays[name], arrays.get(f"{name}/steps")) if name in arrays else None


def _fixed(entry: Any) -> FixedInput | None:
    if entry is None:
        return None
    scale, zero, lowest = entry
    return FixedInput(float(scale), int(zero), int(lowest))


def _check(linear: PackedLinear) -> None:
    """Raise one of ``_NONSENSE`` for arrays that are not of a linear of that size."""
    rows, columns, group, bits = linear.rows, linear.columns, linear.group, linear.bits
    parameters = (-(-rows // PANEL), -(-columns // group), PANEL)
    expected: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
        "codes": ((np.uint8,), (_native.packed_bytes(rows, columns, group, bits),)),
    }
    if linear.zeros is not None:
        expected["zeros"] = ((np.uint8,), parameters)
    if linear.levels is not None:
        expected["levels"] = ((np.float32,), (1 << bits,))
    for kind, (dtypes, shape) in expected.items():
        array: NDArray[Any] = getattr(linear, kind)
        if array.dtype not in dtypes or array.shape != shape:
            raise ValueError(f"{kind} of another size")
    for numbers in filter(None, (linear.scales, linear.minima)):
        _check_numbers(numbers, parameters)
    if not 0 <= linear.zero <= 255 or (linear.levels is not None and bits != 4):
        raise ValueError("codes that are out of range")


def _check_numbers(numbers: GroupNumbers, parameters: tuple[int, int, int]) -> None:
    """The native side looks at the shapes of super-blocks."""
    values, steps = numbers
    if steps is None:
        sound = values.dtype in (np.uint16, np.float16, np.float32) and values.shape == parameters
    else:
        sound = values.dtype == np.float16 and steps.dtype == np.int8 and steps.shape == parameters
        sound = sound and values.ndim == 3 and values.shape[1] > 0
        sound = sound and parameters[1] % values.shape[1] == 0
    if not sound:
        raise ValueError("numbers of groups of another size")
