"""All threads take memory from one pool."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
import numpy as np
from tersor.machine.allocator import one_arena

if sys.argv[1] == "one":
    one_arena()
libc = ctypes.CDLL(None)
places = []

def take():
    libc.malloc.restype = ctypes.c_void_p
    places.append(libc.malloc(5000))

threads = [threading.Thread(target=take) for _ in range(3)]
for thread in threads:
    thread.start()
    thread.join()
heap = next(line for line in open("/proc/self/maps") if "[heap]" in line).split()[0]
first, last = (int(end, 16) for end in heap.split("-"))
print(sum(first <= place < last for place in places))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="maps of Linux")
def test_threads_share_the_heap() -> None:
    found = [
        int(subprocess.check_output([sys.executable, "-c", PROGRAM, how])) for how in ("one", "own")
    ]
    assert found[0] == 3
    assert found[1] < 3


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from tersor.machine import allocator

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    allocator.one_arena()
