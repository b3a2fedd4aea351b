"""Temporary directories, and what is said where none can be made."""

import tempfile
from pathlib import Path

import pytest

from tersor.checkpoints.gateway.configuration import configuration_of
from tersor.checkpoints.scratch import scratch_directory
from tersor.errors import OutputError


def test_nothing_is_left() -> None:
    with scratch_directory() as directory:
        (directory / "file").write_text("x")
    assert not directory.exists()


def test_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(OutputError, match="set TMPDIR"), scratch_directory():
        pass
    with pytest.raises(OutputError, match="set TMPDIR"):
        configuration_of({"model_type": "llama"}, "somewhere")
