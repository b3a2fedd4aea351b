"""Choices against trying all of them."""

from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.allocation import Group, Option, least_bytes, least_loss

WIDTHS = (2, 3, 4, 8)


@st.composite
def some_groups(draw: st.DrawFn) -> list[Group]:
    """Up to four groups with up to five options each, of which one may be of no width."""
    groups = []
    for number in range(draw(st.integers(1, 4))):
        widths = draw(st.lists(st.sampled_from(WIDTHS), min_size=1, max_size=4))
        free = [None] * draw(st.integers(0, 1))
        options = tuple(
            Option(f"{place}", width, draw(st.integers(1, 60)), draw(st.integers(0, 50)) / 7)
            for place, width in enumerate([*widths, *free])
        )
        groups.append(Group(f"g{number}", options))
    return groups


def all_choices(groups: Sequence[Group], any_widths: bool) -> Iterator[tuple[Option, ...]]:
    ladder = sorted({o.width for g in groups for o in g.options if o.width is not None})
    for chosen in product(*(group.options for group in groups)):
        steps = [ladder.index(o.width) for o in chosen if o.width is not None]
        if any_widths or not steps or max(steps) - min(steps) <= 1:
            yield chosen


def size(chosen: Sequence[Option]) -> int:
    return sum(option.bytes for option in chosen)


def loss(chosen: Sequence[Option]) -> float:
    return sum(option.loss for option in chosen)


@given(some_groups(), st.integers(1, 240), st.integers(0, 40), st.booleans())
def test_the_least_loss_within_a_size(
    groups: list[Group], most: int, room: int, any_widths: bool
) -> None:
    least = max(0, most - room)
    fitting = [c for c in all_choices(groups, any_widths) if least <= size(c) <= most]
    found = least_loss(groups, most, least=least, any_widths=any_widths)
    if not fitting:
        assert found is None
        return
    assert found is not None
    chosen = [found.chosen[group.name] for group in groups]
    assert (found.bytes, found.loss) == (size(chosen), pytest.approx(loss(chosen)))
    assert least <= found.bytes <= most
    assert found.loss == pytest.approx(min(map(loss, fitting)), abs=1e-5)
    assert 0 <= found.gap < 1e-3


@given(some_groups(), st.floats(0, 30), st.booleans())
def test_the_least_size_within_a_loss(groups: list[Group], most: float, any_widths: bool) -> None:
    fitting = [c for c in all_choices(groups, any_widths) if loss(c) <= most]
    found = least_bytes(groups, most, any_widths=any_widths)
    if not fitting:
        assert found is None or found.loss <= most + 1e-6
        return
    assert found is not None
    assert found.loss <= most + 1e-6
    assert found.bytes <= min(map(size, fitting))


def test_options_of_no_width_stand_beside_any() -> None:
    linear = Group("linear", (Option("w3", 3, 3, 1.0), Option("w4", 4, 4, 0.2)))
    head = Group("head", (Option("w8", None, 8, 0.1), Option("kept", None, 16, 0.0)))
    found = least_loss([linear, head], 20)
    assert found is not None
    assert {name: option.label for name, option in found.chosen.items()} == {
        "linear": "w4",
        "head": "kept",
    }


def test_widths_that_are_no_neighbours_are_not_mixed_unless_asked_for() -> None:
    groups = [
        Group(name, (Option("w2", 2, 2, two), Option("w3", 3, 3, 0.9), Option("w4", 4, 4, 0.1)))
        for name, two in (("a", 1.0), ("b", 9.0))
    ]
    near, any_ = (least_loss(groups, 6, any_widths=mixed) for mixed in (False, True))
    assert near is not None
    assert any_ is not None
    assert [option.label for option in near.chosen.values()] == ["w3", "w3"]
    assert [option.label for option in any_.chosen.values()] == ["w2", "w4"]


def test_two_thousand_groups_are_solved_with_a_gap_that_is_told() -> None:
    groups = [
        Group(
            f"g{n}",
            tuple(Option(f"w{w}", w, w * (7 + n % 5), (1 + n % 13) * 4.0**-w) for w in (3, 4)),
        )
        for n in range(2000)
    ]
    most = sum(group.options[0].bytes for group in groups) * 7 // 6
    found = least_loss(groups, most, least=most - most // 100)
    assert found is not None
    assert found.gap < 0.01
