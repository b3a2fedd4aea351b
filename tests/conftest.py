"""What all tests share: what is in ``helpers`` imports by plain name; hypothesis has no clock."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "helpers")]

# Names that are no paths are looked for on a hub; tests have one of their own (``local_hub``).
os.environ["HF_HUB_OFFLINE"] = "1"

# In the background of a shell interrupts are ignored, and some tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline would be timing in a test, and examples drawn anew each run would not be repeatable.
settings.register_profile("tersor", deadline=None, derandomize=True)
settings.load_profile("tersor")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights of a test are kept with the test."""
    monkeypatch.setenv("TERSOR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real small model, restored to a bfloat16 Hugging Face directory."""
    from tersor.checkpoints.restore import restore
    from tersor.demo import demo_model

    return restore(demo_model(), tmp_path_factory.mktemp("models") / "smollm2")
