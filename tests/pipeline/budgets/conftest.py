from functools import partial
from pathlib import Path

import pytest

from calibrating import save_model
from tersor.pipeline.sensitivity.protocol import Protocol


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little text, for models that have little to say."""
    little = partial(Protocol, tokens=192, window=32)
    monkeypatch.setattr("tersor.pipeline.budgets.choosing.Protocol", little)
    monkeypatch.setattr("tersor.pipeline.budgets.trial._WINDOWS", 2)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_model("llama", tmp_path / "llama")
    return tmp_path / "llama"
