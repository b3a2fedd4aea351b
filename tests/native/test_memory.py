"""Memory or threads that cannot be had: an error or fewer threads, and never a dead process."""

import subprocess
import sys

import numpy as np
import pytest

import small_decoder

# Shares a step out when no thread can be started any more: memory for a stack is what it takes.
_WITHOUT_THREADS = """
import resource, threading
from pathlib import Path
import small_decoder
decoders = [small_decoder.decoder(threads=count) for count in (1, 4)]
expected = small_decoder.logits(decoders[0], 100)
sizes = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
limit = 1024 * int(sizes["VmSize"].split()[0]) + 2**21
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    threading.Thread(target=int).start()
except RuntimeError:
    found = small_decoder.logits(decoders[1], 100)
    print("same" if (found == expected).all() else "other")
"""


@pytest.mark.parametrize(
    "sizes",
    [
        {"capacity": 2**48},
        {"capacity": 2**63},
        {"capacity": 2**64 - 1},
        {"slots": 2**48},
        {"slots": 2**63},
        {"slots": 2**32, "capacity": 2**32},
        {"threads": 2**44},
        {"most_tokens": 2**46},
        {"most_tokens": 2**58},
        {"most_tokens": 2**64 - 1},
    ],
)
def test_sizes_that_no_machine_has(sizes: dict[str, int]) -> None:
    with pytest.raises(MemoryError):
        small_decoder.decoder(**sizes)


@pytest.mark.parametrize("size", ["slots", "capacity", "threads", "most_tokens"])
def test_sizes_of_nothing(size: str) -> None:
    with pytest.raises(ValueError, match="at least one"):
        small_decoder.decoder(**{size: 0})


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_threads_that_cannot_be_started() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THREADS],
        env={"PYTHONPATH": ":".join([*sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr, run.returncode) == ("same\n", "", 0)


def test_a_small_decoder_goes_on() -> None:
    whole = small_decoder.logits(small_decoder.decoder(), 100)
    shared = small_decoder.logits(small_decoder.decoder(threads=3), 100)
    assert np.array_equal(shared, whole)
    assert np.isfinite(whole).all()
    assert len(np.unique(whole)) > 1000
