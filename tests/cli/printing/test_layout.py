"""Lines and tables on narrow terminals and in pipes: no number is cut, none is broken."""

import io
import sys
from typing import Any

import pytest

from tersor.cli.printing.layout import print_table, say
from tersor.report import cell

COLUMNS = {
    "scheme": "W4A16",
    "bits": 4.313,
    "MB": 1234.5,
    "perplexity": 960712.3,
    "KL": 0.00238312,
    "KL median": 0.00167289,
    "KL p99": 0.0149311,
    "same top": 0.97114,
    "seconds": 133.12,
}


def rows(*texts: str) -> list[dict[str, Any]]:
    """Of three recipes on texts; every number is another one."""
    return [
        {"recipe": recipe, "text": text}
        | {k: v * (1 + i / 7) if isinstance(v, float) else v for k, v in COLUMNS.items()}
        for i, recipe in enumerate(("original", "vanilla-int8-asym", "rotate-gptaq"))
        for text in texts
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    return made


LONG = "a_text_whose_name_is_longer_than_the_terminal_is_wide_" * 2


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
@pytest.mark.parametrize("texts", [["wiki.test.raw"], ["wiki.test.raw", LONG]])
@pytest.mark.parametrize("count", [1, 3])
def test_every_number_is_whole(
    columns: int, texts: list[str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = terminal(monkeypatch, columns)
    shown = rows(*texts)[: count * len(texts)]
    print_table(shown, ("recipe", "text"))
    printed = out.getvalue()
    assert max(map(len, printed.splitlines())) <= columns
    words = printed.split()
    for row in shown:
        assert all(cell(value) in words for value in row.values() if isinstance(value, float))
        assert row["recipe"] in words or columns < 60
    assert "…" not in printed


def test_each_further_table_names_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 60)
    print_table(rows("wiki.test.raw"), ("recipe", "text"))
    printed = out.getvalue()
    tables = printed.strip().split("\n\n")
    assert tables[0].startswith("text: wiki.test.raw, in all rows\n")
    assert len(tables) > 1
    assert all(table.count("rotate-gptaq") == 1 for table in tables)
    assert printed.count("wiki.test.raw") == 1


def test_a_table_in_a_pipe_is_as_wide_as_it_needs_to_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    wide = [{f"column {i}": "x" * 12 for i in range(80)}]
    print_table(wide, ("column 0",))
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].count("x" * 12) == 80
    assert "\x1b" not in printed


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"text": "[bold]wiki[/bold].txt", "KL": 0.5}], ("text",))
    assert "[bold]wiki[/bold].txt" in capsys.readouterr().out


LINE = "prefill    3598.1 tokens/s (of 3: 3500.0 to 3700.0), 512 tokens: 123 G products/s"


def test_lines_break_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 40)
    say(LINE)
    lines = out.getvalue().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert all(line.startswith(" " * 11) for line in lines[1:])
    assert " ".join(lines).split() == LINE.split()


def test_lines_in_a_pipe_are_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    say(LINE)
    assert capsys.readouterr().out == LINE + "\n"
