"""The shared inputs of one block, found by watching it and by trying scales."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor.families.blocks import Rows, SharedInput, canonical
from tersor.models.channels import ShapeMismatch, channels
from tersor.models.probing.tiny.naming import Naming
from tersor.models.probing.trial import Change, Trials, bias_of, random_matrix, random_scale
from tersor.models.probing.watching import Reading, Watched

# Attention before the rest: where query and value heads are as many, its rows are "all" as well.
_TRIED = (Rows.V, Rows.V_OF_QKV, Rows.V_OF_EACH_HEAD, Rows.ALL, Rows.UP_OF_GATE_UP)
_OFFSETS = (0.0, 1.0)
# The last part of a stack of experts, by how many parts there are.
_OF_STACK = {1: (Rows.ALL,), 2: (Rows.UP_OF_GATE_UP,)}
_NOBODY = "no linear or norm was found whose channels reach it one by one"
_ELSEWHERE = "something else reads {norm} too, and cannot be scaled with it"


@dataclass(frozen=True)
class Block:
    """One block of the tiny model.

    ``prefix``: of its parameters' names. ``linears``: canonical block-relative names on disk of
    what is quantized, ``names``: how they come about. ``heads``: query heads. ``width``: of the
    residual stream.
    """

    prefix: str
    linears: frozenset[str]
    names: Naming
    heads: int
    width: int

    def relative(self, parameter: str) -> str:
        """``model.layers.0.mlp.up_proj.weight`` → ``mlp.up_proj``."""
        return parameter.removeprefix(self.prefix).removesuffix(".weight")

    def is_linear(self, parameter: str) -> bool:
        """Whether it is quantized."""
        return all(name in self.linears for name in self.patterns([parameter]))

    def parts(self, parameter: str) -> tuple[str, ...]:
        """The linears of a stack of experts; empty if it is none."""
        relative = canonical(self.relative(parameter))
        return next((s.parts for s in self.names.stacks if s.name == relative), ())

    def patterns(self, parameters: Sequence[str]) -> tuple[str, ...]:
        """What they are called in tables, which is as they are on disk."""
        found: dict[str, None] = {}
        for parameter in parameters:
            relative = canonical(self.relative(parameter))
            own = (self.names.published.get(relative, relative),)
            found |= dict.fromkeys(self.parts(parameter) or own)
        return tuple(found)


@dataclass(frozen=True)
class Shared:
    """A shared input and, where a norm produces it, what that norm adds to its weight."""

    entry: SharedInput
    offset: float | None = None


def shared_inputs(block: Block, watched: Watched, trials: Trials) -> list[Shared]:
    """Every shared input of the block; each of its linears that ran is a consumer of one."""
    readings = {n: r for n, r in watched.readings.items() if n.startswith(block.prefix)}
    found: list[Shared] = []
    left = {name for name in readings if block.is_linear(name)}
    for norm, handed in watched.norms.items():
        readers = [
            r for r in readings.values() if r.width == handed.width and r.rows <= handed.rows
        ]
        consumers = [r.parameter for r in readers if r.parameter in left]
        if norm.startswith(block.prefix) and consumers:
            found.append(_from_norm(block, f"{norm}.weight", readers, trials))
            left -= set(consumers)
    for group in _same_rows(block, [readings[name] for name in readings if name in left]):
        found.append(_from_linear(block, group, readings, trials))
    return found


def _from_norm(block: Block, norm: str, readers: Sequence[Reading], trials: Trials) -> Shared:
    """The readers of a norm, and whether its channels can be scaled for all of them."""
    linears = [r.parameter for r in readers if block.is_linear(r.parameter)]
    others = [r.parameter for r in readers if not block.is_linear(r.parameter)]
    shared = SharedInput(
        consumers=block.patterns(linears),
        producer=None,
        listeners=block.patterns(others),
        inner=readers[0].width != block.width,
    )
    bare = not trials.holds(norm)  # it produces for nobody, but may stand in the residual stream
    why = _obstacle(block, others if bare else (norm, *others), trials)
    if why:
        return Shared(replace(shared, listeners=(), why=why))
    if bare:
        return Shared(replace(shared, producer=block.patterns([norm])[0]))
    (size,) = trials.shape(norm)
    every, scale = torch.arange(size), random_scale(size)
    for offset in _OFFSETS:
        changes = [Change(norm, 0, every, 1 / scale, offset)]
        bias = bias_of(norm, trials)
        changes += [Change(bias, 0, every, 1 / scale)] if bias else []
        changes += [Change(r.parameter, r.axis, every, scale) for r in readers]
        if trials.keeps_function(changes):
            return Shared(replace(shared, producer=block.patterns([norm])[0]), offset)
    why = _ELSEWHERE.format(norm=block.relative(norm))
    return Shared(replace(shared, listeners=(), why=why))


def _obstacle(block: Block, names: Sequence[str], trials: Trials) -> str:
    """What of a norm and its readers besides the linears cannot be found on disk."""
    for name in names:
        if not name.endswith(".weight") or len(trials.shape(name)) > 2:
            return f"{block.relative(name)} reads it too and is no matrix on disk"
        if canonical(block.relative(name)) not in block.names.on_disk:
            return f"the checkpoint has {block.relative(name)} under another name"
    return ""


def _from_linear(
    block: Block, group: Sequence[Reading], readings: Mapping[str, Reading], trials: Trials
) -> Shared:
    """Linears behind no norm: the first producer in the block that can be scaled for them."""
    shared = SharedInput(
        consumers=block.patterns([r.parameter for r in group]),
        producer=None,
        inner=group[0].width != block.width,
        why=_NOBODY,
    )
    names = {reading.parameter for reading in group}
    families: dict[str, list[tuple[Reading, list[Reading]]]] = {}
    for candidate in _near(block, group[0], readings):
        if candidate.parameter in names or not block.is_linear(candidate.parameter):
            continue
        number = _number(block, candidate)
        mine = [r for r in group if _number(block, r) == number]
        if mine and (number is not None or len(mine) == len(group)):
            pattern = block.patterns([candidate.parameter])[-1]
            families.setdefault(pattern, []).append((candidate, mine))
    for pattern, members in families.items():
        if sum(len(mine) for _, mine in members) != len(group):
            continue
        for rows in _TRIED:
            if _passes(block, members, rows, trials):
                return Shared(_settled(block, shared, pattern, members, rows, trials))
    return Shared(shared)


def _settled(
    block: Block,
    shared: SharedInput,
    pattern: str,
    members: Sequence[tuple[Reading, Sequence[Reading]]],
    rows: Rows,
    trials: Trials,
) -> SharedInput:
    parts = block.parts(members[0][0].parameter)
    if parts:
        fits = rows in _OF_STACK.get(len(parts), ())
        return replace(shared, producer=pattern if fits else None, why="" if fits else _NOBODY)
    if rows not in (Rows.V, Rows.V_OF_QKV, Rows.V_OF_EACH_HEAD):
        return replace(shared, producer=pattern, rows=rows, why="")
    width = members[0][1][0].width
    turns = _passes(block, members, rows, trials, size=width // block.heads)
    as_all = rows is Rows.V and _passes(block, members, Rows.ALL, trials)
    # Heads are to be seen only where a head can be rotated and all of it together cannot.
    if as_all and (not turns or _passes(block, members, Rows.ALL, trials, size=width)):
        rows, turns = Rows.ALL, True
    return replace(shared, producer=pattern, rows=rows, why="", turns=turns)


def _passes(
    block: Block,
    members: Sequence[tuple[Reading, Sequence[Reading]]],
    rows: Rows,
    trials: Trials,
    size: int = 1,
) -> bool:
    """Whether a scale, or a rotation of ``size`` channels, moves from producers to consumers."""
    changes: list[Change] = []
    for producer, consumers in members:
        outputs = trials.shape(producer.parameter)[-3 - producer.axis]
        try:
            index, columns = channels(rows, outputs, consumers[0].width, block.heads)
        except ShapeMismatch:
            return False
        changes += list(_moved(producer, consumers, index, columns, size, trials))
    return trials.keeps_function(changes)


def _moved(
    producer: Reading,
    consumers: Sequence[Reading],
    rows: Tensor,
    columns: Tensor,
    size: int,
    trials: Trials,
) -> Iterator[Change]:
    """``size`` channels at a time: a factor each, or a matrix for all of a head."""
    if size == 1:
        scale = random_scale(len(rows))
        outputs, inputs = rows, columns.flatten()
        forward, back = 1 / scale, scale.repeat_interleave(columns.shape[1])
    else:
        forward = back = random_matrix(size)
        outputs = rows.view(-1, size)
        inputs = columns.view(len(outputs), size, -1).transpose(1, 2).reshape(-1, size)
    yield Change(producer.parameter, -3 - producer.axis, outputs, forward)
    bias = bias_of(producer.parameter, trials)
    if bias is not None:
        yield Change(bias, 0, outputs, forward)
    for consumer in consumers:
        yield Change(consumer.parameter, consumer.axis, inputs, back)


def _same_rows(block: Block, readings: Sequence[Reading]) -> list[list[Reading]]:
    """Readings grouped by what they read; those of experts by their names without numbers."""
    groups: dict[object, list[Reading]] = {}
    for reading in readings:
        if _number(block, reading) is None:
            groups.setdefault(reading.rows, []).append(reading)
    experts = [r for r in readings if _number(block, r) is not None]
    first = next((_number(block, r) for r in experts), None)
    together: dict[str, object] = {
        canonical(block.relative(r.parameter)): r.rows
        for r in experts
        if _number(block, r) == first
    }
    for reading in experts:
        key = together.get(canonical(block.relative(reading.parameter)), reading.parameter)
        groups.setdefault(("expert", key), []).append(reading)
    return list(groups.values())


def _near(block: Block, to: Reading, readings: Mapping[str, Reading]) -> list[Reading]:
    """Candidates, those of the same module first."""
    parent = to.parameter.removesuffix(".weight").rpartition(".")[0]
    return sorted(readings.values(), key=lambda r: not r.parameter.startswith(f"{parent}."))


def _number(block: Block, reading: Reading) -> int | None:
    """The number of the expert a matrix belongs to."""
    numbers = [p for p in block.relative(reading.parameter).split(".") if p.isdecimal()]
    return int(numbers[0]) if numbers else None
