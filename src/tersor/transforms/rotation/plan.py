"""Which step every tensor of a model takes: from the tables of ``models`` and names on disk."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.families.blocks import Rows, SharedInput, canonical
from tersor.models.architecture import Architecture, unknown_matrices
from tersor.models.experts import unfused_shapes
from tersor.models.pairs import Pair, pairs
from tersor.transforms.rotation.hadamard import Orthogonal, random_orthogonal
from tersor.transforms.rotation.steps import Bias, Constant, Matrix, Norm, NormBias, Step, Turn

_VALUES = (Rows.V, Rows.V_OF_QKV, Rows.V_OF_EACH_HEAD)
_VALUES_ONLY = "rotate the values only (residual: false)"
_S = TypeVar("_S", Matrix, Bias)


def residual_steps(source: Source, architecture: Architecture, seed: int) -> dict[str, Step]:
    """Name on disk → step, for a rotation of the residual stream.

    A tied head gets a step under the name it will have. Raises :class:`SourceError` where a
    tensor may touch the residual stream and no table says how.
    """
    _refuse_what_cannot_turn(source, architecture)
    assert architecture.embedding is not None
    width = source.tensors[architecture.embedding].shape[1]
    turn = Turn(random_orthogonal(width, seed, "residual", keeps_ones=architecture.centred))
    steps = _head_steps(source, architecture, turn)
    for name in (architecture.embedding, architecture.positions):
        if name is not None:
            steps[name] = Matrix(name, inputs=turn)
    inside = _by_block(source, architecture)
    for block, names in inside.items():
        steps |= _writer_steps(source, architecture, names, turn)
        for shared in architecture.shared_inputs:
            if _is_norm_of_the_stream(architecture, shared):
                steps |= _reader_steps(source, architecture, block, names, shared, turn)
    for step in steps.values():
        if isinstance(step, NormBias):
            step.compute(lambda name: source.read([name])[name])  # refused now, not after hours
    return steps


def value_steps(
    source: Source, architecture: Architecture, seed: int, steps: Mapping[str, Step]
) -> dict[str, Step]:
    """``steps`` with the rotation of every value head added, one matrix per block.

    The rows of v that a head owns are rotated with each other, and so are the columns of the
    output projection that read them: attention only averages over tokens in between.
    """
    merged = dict(steps)
    shapes = {
        name: shape
        for info in source.tensors.values()
        for name, shape in unfused_shapes(architecture, info.name, info.shape).items()
    }
    for block in range(architecture.blocks):
        for pair in pairs(architecture, shapes, block):
            shared = architecture.shared_input_of(pair.consumers[0])
            if shared is not None and shared.rows in _VALUES and shared.turns:
                width = pair.columns.numel() // architecture.heads
                rotation = random_orthogonal(width, seed, f"values of block {block}")
                merged |= _value_steps(pair, rotation, merged)
    return merged


def _is_norm_of_the_stream(architecture: Architecture, shared: SharedInput) -> bool:
    producer = shared.producer
    return producer is not None and producer not in architecture.linears and not shared.inner


def head_name(architecture: Architecture) -> str | None:
    """The head as a rotated model stores it; None if there is none.

    What the input embedding and the head absorb differs, so a tied head becomes a tensor.
    """
    if architecture.head is None and architecture.tied:
        return architecture.untied_head
    return architecture.head


def _head_steps(source: Source, architecture: Architecture, turn: Turn) -> dict[str, Step]:
    """The final norm, and the head that absorbs it."""
    head = head_name(architecture)
    assert head is not None
    norm = _norm(source, architecture, architecture.final_norm or "")
    origin = architecture.embedding if architecture.tied else head
    assert origin is not None
    steps: dict[str, Step] = {head: Matrix(origin, norm=norm, inputs=turn)}
    bias = f"{head.removesuffix('.weight')}.bias"
    if bias in source.tensors:
        steps[bias] = Bias(bias, weight=origin, norm=norm)
    return steps | _norm_steps(norm, turn, absorbed=bias in source.tensors)


def _reader_steps(
    source: Source,
    architecture: Architecture,
    block: int,
    names: list[str],
    shared: SharedInput,
    turn: Turn,
) -> dict[str, Step]:
    """A norm that reads the residual stream, and the linears that absorb it."""
    assert shared.producer is not None
    norm = _norm(source, architecture, architecture.full_name(block, shared.producer))
    readers = shared.consumers + shared.listeners
    biases = [f"{architecture.container}.{block}.{name}.bias" for name in readers]
    absorbed = all(bias in source.tensors for bias in biases)
    steps = _norm_steps(norm, turn, absorbed=absorbed)
    for name in _matching(architecture, names, readers):
        transposed = _is_transposed(architecture, name)
        steps[name] = Matrix(name, norm=norm, inputs=turn, transposed=transposed)
        bias = f"{name.removesuffix('.weight')}.bias"
        if absorbed and norm.bias is not None:
            steps[bias] = Bias(bias, weight=name, norm=norm, transposed=transposed)
    return steps


def _writer_steps(
    source: Source, architecture: Architecture, names: list[str], turn: Turn
) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    for name in _matching(architecture, names, architecture.writers):
        transposed = _is_transposed(architecture, name)
        steps[name] = Matrix(name, outputs=turn, transposed=transposed)
        bias = f"{name.removesuffix('.weight')}.bias"
        if bias in source.tensors:
            steps[bias] = Bias(bias, weight=name, outputs=turn, transposed=transposed)
    return steps


def _norm(source: Source, architecture: Architecture, weight: str) -> Norm:
    bias = f"{weight.removesuffix('.weight')}.bias"
    return Norm(
        weight if weight in source.tensors else None,
        bias if bias in source.tensors else None,
        architecture.norm_offset,
    )


def _norm_steps(norm: Norm, turn: Turn, *, absorbed: bool) -> dict[str, Step]:
    """What is left of a norm; ``absorbed``: its readers have biases that take up its own."""
    steps: dict[str, Step] = {}
    if norm.weight is not None:
        steps[norm.weight] = Constant(norm.weight, 1.0 - norm.offset)
    if norm.bias is not None:
        steps[norm.bias] = Constant(norm.bias, 0.0) if absorbed else NormBias(norm, turn)
    return steps


def _by_block(source: Source, architecture: Architecture) -> dict[int, list[str]]:
    """The names of the tensors of every block."""
    inside: dict[int, list[str]] = {block: [] for block in range(architecture.blocks)}
    for name in source.tensors:
        block = architecture.block_of(name)
        if block is not None:
            inside[block].append(name)
    return inside


def _matching(
    architecture: Architecture, names: list[str], patterns: tuple[str, ...]
) -> Iterator[str]:
    """The weights among ``names`` that match, whether experts are fused on disk or apart."""
    published = dict(architecture.renames)
    for name in names:
        relative, fused = architecture.split(name)[1], architecture.fused(name)
        pattern = canonical(published.get(relative, relative)) if fused is None else fused.parts[0]
        if pattern in patterns:
            yield name


def _is_transposed(architecture: Architecture, name: str) -> bool:
    fused = architecture.fused(name)
    return architecture.is_transposed(name) if fused is None else fused.transposed


def _value_steps(pair: Pair, rotation: Orthogonal, steps: Mapping[str, Step]) -> dict[str, Step]:
    """The steps of one pair v → o, on top of ``steps``."""
    rows = pair.rows.view(-1, rotation.size)
    columns = pair.columns.view(len(rows), rotation.size, -1).transpose(1, 2)
    by_rows, by_columns = Turn(rotation, rows), Turn(rotation, columns.reshape(-1, rotation.size))
    v, transposed = pair.producer, pair.transposed
    merged: dict[str, Step] = {
        v: replace(_known(steps, v, Matrix(v, transposed=transposed)), outputs=by_rows)
    }
    if pair.bias is not None:
        plain = Bias(pair.bias, weight=v, transposed=transposed)
        merged[pair.bias] = replace(_known(steps, pair.bias, plain), outputs=by_rows)
    for name in pair.consumers:
        plain_matrix = Matrix(name, transposed=transposed)
        merged[name] = replace(_known(steps, name, plain_matrix), inputs=by_columns)
    return merged


def _known(steps: Mapping[str, Step], name: str, default: _S) -> _S:
    """The step that ``name`` has already, or ``default``, which is of the same kind."""
    step = steps.get(name, default)
    assert isinstance(step, type(default))
    return step


def _refuse_what_cannot_turn(source: Source, architecture: Architecture) -> None:
    """A reader or writer of the residual stream that stays as it is would change the model."""
    for shared in architecture.shared_inputs:
        writes = all(name in architecture.writers for name in shared.consumers)
        if shared.producer is None and not writes and not shared.inner:
            raise SourceError(
                f"{source.path}: the residual stream cannot be rotated, because {shared.why}; "
                f"{_VALUES_ONLY}"
            )
    if not architecture.closed:
        raise SourceError(
            f"{source.path}: the residual stream of {architecture.model_type} passes through more "
            f"than linears and norms that can rotate; {_VALUES_ONLY}"
        )
    shapes = {name: info.shape for name, info in source.tensors.items()}
    known = (architecture.embedding, architecture.positions, architecture.head)
    outside = [
        name
        for name, shape in shapes.items()
        if len(shape) > 1 and name not in known and architecture.block_of(name) is None
    ]
    for name in (*unknown_matrices(architecture, shapes), *outside):
        raise SourceError(
            f"{name} is not in the table of {architecture.model_type} and may touch the residual "
            f"stream; {_VALUES_ONLY}"
        )
    if architecture.embedding is None or head_name(architecture) is None:
        raise SourceError(
            f"{source.path}: without embedding and head the rotation would show in the output; "
            f"{_VALUES_ONLY}"
        )
