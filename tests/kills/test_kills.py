"""Runs that are killed at random instants, gone on with, and compared byte for byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kills.trying import Server, Undisturbed, trial, undisturbed

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
    return request.param, undisturbed(server, folder, request.param)


def test_a_killed_run_is_gone_on_with_and_ends_in_the_same_bytes(
    whole: tuple[str, Undisturbed], server: Server, folder: Path
) -> None:
    case, found = whole
    for seed in range(SEEDS[case]):
        trial(server, folder, case, seed, found)
