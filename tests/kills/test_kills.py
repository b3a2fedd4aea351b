"""Runs that are killed at random instants, gone on with, and compared byte for byte."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from kills.trying import Server, Undisturbed, contents, trial, undisturbed

SEEDS = {
    **{"gptq": 8, "gptaq": 3, "nearest": 3, "shards": 3, "small": 2, "gguf": 3, "trained": 3},
    **{"static": 1, "learned": 1, "experts": 1, "shared": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder) as found:
        yield found


@pytest.fixture(scope="module", params=SEEDS)
def whole(request: pytest.FixtureRequest, server: Server, folder: Path) -> tuple[str, Undisturbed]:
    return request.param, _once(server, folder, request.param)


def test_a_killed_run_is_gone_on_with_and_ends_in_the_same_bytes(
    whole: tuple[str, Undisturbed], server: Server, folder: Path
) -> None:
    case, found = whole
    for seed in range(SEEDS[case]):
        trial(server, folder, case, seed, found)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_full_disk_is_said_and_gone_on_from(share: float, server: Server, folder: Path) -> None:
    found = _once(server, folder, "gptq")
    out = folder / "gptq" / f"full-{share}"
    at = round(share * found.calls)
    ended = server.ask("gptq", out=str(out), at=at, happens="full")
    assert ended["error"].startswith("OutputError: "), ended
    assert "no space left on " in ended["error"].lower()
    assert not out.exists()
    assert "calls" in server.ask("gptq", out=str(out), resume=True)
    assert contents(out) == found.files


def test_a_disk_that_becomes_read_only(server: Server, folder: Path) -> None:
    found = _once(server, folder, "gptq")
    out = folder / "gptq" / "read-only"
    ended = server.ask("gptq", out=str(out), at=round(0.6 * found.calls), happens="read only")
    assert ended["error"].startswith("OutputError: "), ended
    assert "no permission to write here" in ended["error"]
    assert "calls" in server.ask("gptq", out=str(out), resume=True)
    assert contents(out) == found.files


@cache
def _once(server: Server, folder: Path, case: str) -> Undisturbed:
    return undisturbed(server, folder, case)
