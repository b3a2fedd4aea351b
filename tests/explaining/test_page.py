"""docs/numbers.md: the commands on the page print what stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tersor.cli.main import run

PAGE = Path(__file__).parents[2] / "docs" / "numbers.md"
BLOCK = re.compile(r"^```console\n\$ tersor ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(begin: str) -> list[tuple[str, str]]:
    """Commands and their output, of those commands that begin like this."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [(command, output) for command, output in found if command.startswith(begin)]


def words(text: str) -> str:
    """The page breaks lines elsewhere."""
    return " ".join(text.split())


def pieces(output: str) -> list[str]:
    """What stands between lines that say that something is left out."""
    return [
        piece for part in re.split(r"^…$", output, flags=re.MULTILINE) if (piece := words(part))
    ]


def check(printed: str, output: str) -> None:
    said, at = words(printed), 0
    for number, piece in enumerate(pieces(output)):
        found = said.find(piece, at)
        assert found >= 0, piece
        if number == 0 and not output.startswith("…"):
            assert found == 0
        at = found + len(piece)
    if not output.rstrip().endswith("…"):
        assert at == len(said)


@pytest.mark.parametrize(("command", "output"), blocks("explain --values"))
def test_values(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split(command)) == 0
    check(capsys.readouterr().out, output)


@pytest.mark.model
@pytest.mark.parametrize(("command", "output"), blocks("explain smollm2"))
def test_a_weight_of_the_real_model(
    command: str,
    output: str,
    smollm2: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All but what the model computes, which is not the same to the last digit everywhere."""
    monkeypatch.chdir(smollm2.parent)
    assert run([*shlex.split(command), "--no-effect"]) == 0
    kept = re.sub(r"^text  .*", "", output, flags=re.MULTILINE | re.DOTALL)
    check(capsys.readouterr().out, kept)


def test_there_is_something_to_check() -> None:
    assert len(blocks("explain --values")) >= 5
    assert len(blocks("explain smollm2")) == 2
