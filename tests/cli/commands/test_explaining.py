"""``tersor explain`` as it is typed."""

import io
import json
import re

import pytest

import tersor
from tersor.cli.main import run

VALUES = "--values=-1.5,0,0.007,0.014,2.0"


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["explain", *arguments]) == 0
    return capsys.readouterr().out


def test_json_is_what_python_returns(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out(capsys, VALUES, "--bits", "4", "--asymmetric", "--json"))
    assert found == tersor.explain("-1.5,0,0.007,0.014,2.0", 4, asymmetric=True).to_dict()


def test_a_few_values_are_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    said = out(capsys, VALUES, "--asymmetric")
    assert said.count("\nw = ") == 5
    assert "s = (max - min) / (2^8 - 1) = (2 - (-1.5)) / 255 = 0.01372549" in said
    assert "-109 + (-19) = -128" in said
    assert said.splitlines()[-1].split() == ["2", "145.7", "127", "2.004", "-0.003922", "-0.003922",
                                             "0", "0"]  # fmt: skip


def test_hundreds_of_values_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    values = ",".join(str(i * i * 0.01 - 3) for i in range(300))
    said = out(capsys, f"--values={values}")
    assert len(said.splitlines()) < 40
    assert "the 12 of 300 values with the largest errors" in said
    assert said.count("\nw = ") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80])
def test_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(["explain", VALUES, "--asymmetric", "--scale", "0.014", "--zero-point=108"]) == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert max(map(len, plain.splitlines())) <= columns


def test_a_minus_behind_a_space_is_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(out(capsys, "--values", "-1.5,2", "--symmetric", "--json"))
    assert [one["value"] for one in found["values"]] == [-1.5, 2.0]


def test_numbers_in_the_place_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "1,2,3"]) == 2
    assert "--values=1,2,3" in capsys.readouterr().err
