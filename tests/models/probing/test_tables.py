"""What numbers find of the families with a table is what the table says."""

from dataclasses import replace
from typing import Any

from tersor.families.blocks import canonical
from tersor.models.architecture import Architecture
from tersor.models.pairs import Pair, input_groups, pairs
from tersor.models.probing import probed


def forgotten(architecture: Architecture) -> Architecture:
    """What discovery knows of a checkpoint."""
    return replace(
        architecture,
        known=False,
        shared_inputs=(),
        writers=(),
        norm_offset=0.0,
        centred=False,
        sandwich=False,
        final_norm=None,
    )


def as_values(pair: Pair) -> tuple[Any, ...]:
    """A pair without tensors; consumers in no order."""
    return (
        pair.producer,
        pair.bias,
        pair.rows.tolist(),
        sorted(pair.consumers),
        pair.listeners,
        pair.columns.tolist(),
        pair.offset,
        pair.transposed,
    )


def test_numbers_find_what_the_table_says(checkpoint: Any) -> None:
    table = checkpoint.architecture
    found = probed(forgotten(table), checkpoint.config, checkpoint.shapes)
    assert found.known, found.note
    compare_pairs(checkpoint, found)
    if checkpoint.config.get("do_layer_norm_before", True):
        compare_streams(checkpoint, found)
    else:
        assert not found.closed


def compare_pairs(checkpoint: Any, found: Architecture) -> None:
    table = checkpoint.architecture
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.published().items()}
    for block in range(table.blocks):
        expected = {p.producer: as_values(p) for p in pairs(table, shapes, block)}
        got = {p.producer: as_values(p) for p in pairs(found, shapes, block)}
        assert got == expected
        groups = [sorted(map(sorted, input_groups(a, shapes, block))) for a in (table, found)]
        assert groups[0] == groups[1]


def compare_streams(checkpoint: Any, found: Architecture) -> None:
    table = checkpoint.architecture
    assert found.closed
    assert (found.centred, found.sandwich) == (table.centred, table.sandwich)
    assert found.norm_offset == table.norm_offset
    assert found.final_norm == table.final_norm
    present = {canonical(table.split(name)[1]) for name in checkpoint.published()}
    assert set(found.writers) == {name for name in table.writers if name in present}


def test_an_architecture_with_a_table_is_left_alone(checkpoint: Any) -> None:
    table = checkpoint.architecture
    assert probed(table, checkpoint.config, checkpoint.shapes) is table
