"""A base kept on disk gives what the live one gives, bit for bit."""

import errno
import math
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bigram import random_bigram, random_windows

from tersor.errors import OutputError, SourceError, TextError
from tersor.evaluation import CachedBase, LiveBase, evaluate_model


@pytest.mark.parametrize("skip", [0, 4])
def test_cached_equals_live(tmp_path: Path, skip: int) -> None:
    model, windows = random_bigram(0), random_windows(1)
    live = LiveBase(model, windows, skip=skip)
    cached = CachedBase(model, windows, tmp_path, skip=skip)
    assert cached.cached
    for index in range(len(windows)):
        assert torch.equal(cached.log_probabilities(index), live.log_probabilities(index))
    other = random_bigram(2)
    assert evaluate_model(other, windows, base=cached, skip=skip) == evaluate_model(
        other, windows, base=live, skip=skip
    )


def test_the_model_runs_once_however_many_are_compared(tmp_path: Path) -> None:
    model, windows = random_bigram(0), random_windows(1)
    cached = CachedBase(model, windows, tmp_path)
    for seed in range(3):
        evaluate_model(random_bigram(seed), windows, base=cached)
    assert model.calls == len(windows)


def test_leaves_no_file_behind(tmp_path: Path) -> None:
    cached = CachedBase(random_bigram(0), random_windows(1), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert cached.log_probabilities(2).shape == (9, 11)


def test_without_the_space_it_warns_and_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    model, windows = random_bigram(0), random_windows(1)
    with pytest.warns(UserWarning, match=r"0.0 GB are free; the base model runs again"):
        base = CachedBase(model, windows, tmp_path)
    assert not base.cached
    expected = LiveBase(model, windows).log_probabilities(1)
    assert torch.equal(base.log_probabilities(1), expected)


def test_a_disk_that_fills_up_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OutputError, match="No space left on device"):
        CachedBase(random_bigram(0), random_windows(1), tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        CachedBase(random_bigram(0), random_windows(1), tmp_path / "nowhere")


def test_progress_counts_windows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    CachedBase(
        random_bigram(0),
        random_windows(1),
        tmp_path,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_base_with_bad_logits_is_refused(tmp_path: Path) -> None:
    model = random_bigram(0)
    model.table.data[:, 2] = math.nan
    with pytest.raises(SourceError, match="Bigram"):
        CachedBase(model, random_windows(1), tmp_path)


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="nothing to score"):
        LiveBase(random_bigram(0), random_windows(1), skip=9)
    with pytest.raises(TextError, match="nothing to score"):
        CachedBase(random_bigram(0), random_windows(1), tmp_path, skip=9)
