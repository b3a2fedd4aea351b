"""How many threads make sense, without asking torch."""

import os
from pathlib import Path

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores() -> int:
    """Cores that this process may run on, or what ``OMP_NUM_THREADS`` says, as torch takes them.

    Processors that share a core count once: kernels keep all of its units busy.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    allowed = _allowed()
    return len({_core(processor) for processor in allowed}) or 1


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _core(processor: int) -> str:
    """What processors of one core have in common; each is its own where nobody says."""
    try:
        return Path(_SIBLINGS.format(processor)).read_text()
    except OSError:
        return str(processor)
