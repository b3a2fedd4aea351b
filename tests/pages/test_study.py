"""The page of a comparison says first what was found."""

from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path

import pytest

from tersor.pages.study import _lifts, study_page
from tersor.pipeline.studies.comparison import ComparedArtifact, CompareResult
from tersor.pipeline.studies.rows import CompareRow, with_best
from tersor.report.html import Picture, Table, render


def row(recipe: str, size: int, kl: float, text: str = "wiki.txt") -> CompareRow:
    return CompareRow(recipe, "W4A16", 4.25, size, text, 20 + kl, kl, kl, 3 * kl, 1 - kl, 1.5)


TRAVEL = (0.01, 0.04, 0.02)


def result(*rows: CompareRow, travel: tuple[float, ...] | None = TRAVEL) -> CompareResult:
    artifacts = [
        ComparedArtifact(one.recipe, Path(one.recipe), {}, (), 1.5, travel)
        for one in rows
        if one.recipe != "original"
    ]
    return CompareResult(Path("model"), with_best(rows), (), tuple(artifacts))


ROWS = (
    row("original", 269_000_000, 0.0),
    row("w4", 113_000_000, 0.4),
    row("gptq", 113_000_000, 0.1),
)


def test_findings_are_sentences_with_numbers() -> None:
    found = " ".join(study_page(result(*ROWS)).findings)
    assert "`gptq` loses least: KL divergence 0.1 nats" in found
    assert "in 113 MB instead of 269 MB" in found
    assert "in 113 MB `gptq` loses 4 times less than `w4`" in found
    assert "2.4 times smaller" in found
    assert "`w4` is beaten" in found
    assert "grows in 2 of 4 steps and shrinks beside the signal in 2" in found
    assert "larger than behind the first block for 2 of 2 recipes" in found
    assert "falls most behind block 3, for `w4` from 0.04 to 0.02" in found


def test_one_recipe_has_no_rival() -> None:
    found = study_page(result(*ROWS[:2])).findings
    assert not any("loses most" in one or "beaten" in one for one in found)


def test_every_text_has_a_section() -> None:
    other = [replace(one, text="play.txt") for one in ROWS]
    page = study_page(result(*ROWS, *other))
    assert [section.heading for section in page.sections] == [
        "Loss on wiki.txt",
        "Loss on play.txt",
        "How the error travels through the blocks",
        "How it was measured",
    ]
    picture, table = page.sections[0].parts
    assert isinstance(picture, Picture)
    assert "gptq 113 MB, KL 0.1" in picture.alt
    assert isinstance(table, Table)
    assert table.marked == (2,)
    assert [one[0] for one in table.rows] == ["original", "w4", "gptq"]


def test_without_hidden_states_there_is_no_such_section() -> None:
    page = study_page(result(*ROWS, travel=None))
    assert not any("travels" in section.heading for section in page.sections)


@pytest.mark.parametrize("name", ["<script>x</script>", "a_b $x$", 'q"&'])
def test_a_name_is_only_a_name(name: str) -> None:
    html = render(study_page(result(ROWS[0], replace(ROWS[1], recipe=name), ROWS[2])))
    assert "<script>x" not in html


def test_names_in_the_picture_do_not_lie_on_each_other() -> None:
    losses = (0.26, 0.27, 0.39, 0.4)
    same = [row(f"r{kl}", 113_000_000, kl) for kl in losses]
    lifts = _lifts([*same, row("int8", 163_000_000, 0.003)])
    assert lifts[0] == lifts[4] == 0
    points = 140 / log(0.4 / 0.003)
    heights = [points * log(kl) + lift for kl, lift in zip(losses, lifts, strict=False)]
    assert all(upper - lower > 9.99 for lower, upper in pairwise(heights))


def test_a_lossless_recipe_and_an_endless_perplexity() -> None:
    lossless = row("same", 269_000_000, 0.0)
    broken = replace(row("w2", 87_000_000, 11.0), perplexity=float("inf"))
    assert "<svg" in render(study_page(result(ROWS[0], lossless, broken)))
