"""Pictures follow the theme of their page, and are the same every time."""

import re
from typing import Any

from tersor.report.html import SERIES, hint, picture


def svg(draw: Any) -> str:
    return picture(draw, alt="a", caption="b").svg


def test_colours_are_those_of_the_theme() -> None:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([1, 2, 3], [1, 4, 9], label="growth")
        axes.bar([1, 2], [2, 3], color=SERIES[1])
        axes.legend()

    made = svg(draw)
    assert "var(--series-1)" in made
    assert "var(--series-2)" in made
    assert "var(--ink)" in made
    assert not re.search(r"#010[ab]0", made)
    assert ">growth</text>" in made
    assert "<style" not in made
    assert "<metadata" not in made


def test_what_is_written_is_no_mathematics_and_no_markup() -> None:
    made = svg(lambda figure: figure.subplots().set_title("a_b $x^2$ <b>"))
    assert "a_b $x^2$ &lt;b&gt;" in made


def test_logarithms_are_plain_numbers() -> None:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([1, 2], [0.001, 10])
        axes.set_yscale("log")

    made = svg(draw)
    assert ">0.01</text>" in made
    assert "mathdefault" not in made


def test_a_hint_is_a_title() -> None:
    def draw(figure: Any) -> None:
        (bar,) = figure.subplots().bar([1], [2])
        hint(bar, "q_proj: 2 <dB>")

    made = svg(draw)
    assert '<g class="hint"><title>q_proj: 2 &lt;dB&gt;</title>' in made


def test_the_same_drawing_is_the_same_text() -> None:
    def draw(figure: Any) -> None:
        figure.subplots().fill_between([1, 2, 3], [1, 2, 1])

    assert svg(draw) == svg(draw)
