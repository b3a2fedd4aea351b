"""Where a per-channel scale can move from a producer into its consumers, in one block.

Dividing output channel ``c`` of the producer by ``s_c`` and multiplying every column that reads it
by ``s_c`` leaves the block's function as it is. AWQ and SmoothQuant choose ``s``; this module says
where it goes. It also says which linears read the very same rows, because those share a Hessian.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from tersor.errors import SourceError
from tersor.families.blocks import Role, Rows, SharedInput, canonical
from tersor.models.architecture import Architecture, unknown_matrices
from tersor.models.channels import ShapeMismatch, channels

Shapes = Mapping[str, tuple[int, ...]]

_EXPERT = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, eq=False)
class Pair:
    """One producer and all that reads the channels which can be scaled.

    ``producer``, ``consumers`` and ``listeners`` are names on disk; ``bias`` is the producer's, if
    it has one. Channel ``c`` is row ``rows[c]`` of the producer, int64 ``(channels,)``, and
    columns ``columns[c]`` of every consumer and listener, int64 ``(channels, repeat)``; ``repeat``
    is above 1 where query heads share a value head. ``offset`` is added to a norm's weight when it
    is used (1 for Gemma). ``transposed``: the linears are stored ``(in, out)``.
    """

    producer: str
    bias: str | None
    rows: Tensor
    consumers: tuple[str, ...]
    listeners: tuple[str, ...]
    columns: Tensor
    offset: float
    transposed: bool

    @property
    def channels(self) -> int:
        """How many scales the pair takes."""
        return len(self.rows)


def pairs(architecture: Architecture, shapes: Shapes, block: int) -> tuple[Pair, ...]:
    """Every pair of one block; none for an architecture without a table.

    ``shapes`` maps the names on disk to shapes, with experts unfused (``unfused_shapes``). A pair
    whose producer is not on disk (a norm without weights) is left out. Raises ``SourceError`` if
    the block holds fused experts or a matrix the table does not know, either of which might read
    a scaled tensor unnoticed, and if shapes contradict the table.
    """
    if not architecture.known:
        return ()
    inside = _block_shapes(architecture, shapes, block)
    _refuse_unknown_readers(architecture, inside)
    found = []
    for shared in architecture.shared_inputs:
        readers = _by_expert(architecture, shared.consumers, inside)
        if shared.producer is not None and "*" not in shared.producer:
            everyone = [name for names in readers.values() for name in names]
            readers = {"": everyone} if everyone else {}
        for expert, consumers in readers.items():
            found += _pair(architecture, shared, expert, tuple(consumers), inside, block)
    return tuple(found)


def input_groups(
    architecture: Architecture, shapes: Shapes, block: int
) -> tuple[tuple[str, ...], ...]:
    """The linears of one block, grouped by the rows they read; names on disk.

    Members of a group see identical inputs and so share every input statistic: q, k, v; gate, up.
    Experts are separate groups, because each sees only its own tokens. A linear outside the
    tables is a group of its own. ``shapes`` as for ``pairs``.
    """
    inside = _block_shapes(architecture, shapes, block)
    groups = [
        tuple(names)
        for shared in architecture.shared_inputs
        for names in _by_expert(architecture, shared.consumers, inside).values()
    ]
    grouped = {name for group in groups for name in group}
    linears = [n for n, shape in inside.items() if architecture.role(n, shape) is Role.LINEAR]
    return (*groups, *((name,) for name in linears if name not in grouped))


def _pair(
    architecture: Architecture,
    shared: SharedInput,
    expert: str,
    consumers: tuple[str, ...],
    inside: Shapes,
    block: int,
) -> list[Pair]:
    """The pair of one shared input, or nothing where no producer is on disk."""
    if shared.producer is None:
        return []
    producer = architecture.full_name(block, shared.producer.replace("*", expert))
    if producer not in inside:
        return []
    bias = f"{producer.removesuffix('.weight')}.bias"
    listeners = [architecture.full_name(block, name) for name in shared.listeners]
    is_norm = len(inside[producer]) == 1
    rows, columns = _channels(architecture, shared.rows, producer, consumers[0], inside)
    pair = Pair(
        producer=producer,
        bias=bias if bias in inside else None,
        rows=rows,
        consumers=consumers,
        listeners=tuple(name for name in listeners if name in inside),
        columns=columns,
        offset=architecture.norm_offset if is_norm else 0.0,
        transposed=architecture.is_transposed(consumers[0]),
    )
    _check_widths(architecture, pair, inside)
    return [pair]


def _channels(
    architecture: Architecture, rows: Rows, producer: str, consumer: str, inside: Shapes
) -> tuple[Tensor, Tensor]:
    """Row and column indices of a pair, from the shapes."""
    outputs, _ = _out_in(architecture, producer, inside)
    _, inputs = _out_in(architecture, consumer, inside)
    try:
        return channels(rows, outputs, inputs, architecture.heads)
    except ShapeMismatch:
        raise SourceError(
            f"{producer} with {outputs} outputs cannot feed {consumer} with {inputs} inputs as "
            f"{rows.value!r} of {architecture.heads} heads: config.json and weights disagree"
        ) from None


def _out_in(architecture: Architecture, name: str, inside: Shapes) -> tuple[int, int]:
    shape = inside[name]
    if len(shape) == 1:
        return shape[0], shape[0]
    return (shape[1], shape[0]) if architecture.is_transposed(name) else (shape[0], shape[1])


def _block_shapes(architecture: Architecture, shapes: Shapes, block: int) -> Shapes:
    prefix = f"{architecture.container}.{block}."
    inside = {name: shape for name, shape in shapes.items() if name.startswith(prefix)}
    in_memory_names = {in_memory for in_memory, _ in architecture.renames}
    for name, shape in inside.items():
        if architecture.role(name, shape) is Role.FUSED_EXPERTS:
            raise SourceError(f"{name} holds fused experts: unfuse it before looking for pairs")
        if architecture.split(name)[1] in in_memory_names:
            raise SourceError(f"{name} belongs to fused experts: rename it as unfuse does")
    return inside


def _refuse_unknown_readers(architecture: Architecture, inside: Shapes) -> None:
    # Where all readers were found by watching, what is left is a name that differs in memory.
    unknown = () if architecture.examined else unknown_matrices(architecture, inside)
    if unknown:
        raise SourceError(
            f"{unknown[0]} is not in the table of {architecture.model_type} and may read a tensor "
            "that would be scaled: choose a recipe without transforms"
        )


def _check_widths(architecture: Architecture, pair: Pair, inside: Shapes) -> None:
    for name in (*pair.consumers, *pair.listeners):
        # A listener is no linear of ours and is stored (out, in) in every family.
        width = _out_in(architecture, name, inside)[1]
        if width != pair.columns.numel():
            raise SourceError(
                f"{name} has {width} inputs but {pair.producer} feeds {pair.columns.numel()}"
            )


def _by_expert(
    architecture: Architecture, patterns: tuple[str, ...], inside: Shapes
) -> dict[str, list[str]]:
    """Expert number ("" without experts) → the names that match, in the order of ``patterns``."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in inside:
        relative = architecture.split(name)[1]
        if name.endswith(".weight") and canonical(relative) in patterns:
            number = _EXPERT.search(relative)
            place = patterns.index(canonical(relative))
            found.setdefault(number.group(1) if number else "", []).append((place, name))
    experts = sorted(found, key=lambda expert: int(expert or -1))
    return {expert: [name for _, name in sorted(found[expert])] for expert in experts}
