"""The memory of this machine, and what is said when it is not enough."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tersor.byte_sizes import human_bytes
from tersor.errors import OutOfMemory

# Of a container, in the two versions of Linux's control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What torch, the C library and C++ say when an allocation fails.
_SAID = ("DefaultCPUAllocator", "can't allocate memory", "annot allocate memory", "std::bad_alloc")


def machine_bytes() -> int:
    """Memory and swap space of this machine or container; a large number where nobody says."""
    sizes = [2**62]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        sizes.append(1024 * sum(int(lines[key].split()[0]) for key in ("MemTotal", "SwapTotal")))
    for limit in map(Path, _LIMITS):
        if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
            sizes.append(int(text))
    return min(sizes)


def resident_bytes(pid: int) -> int | None:
    """What a process has in memory; ``None`` where nobody says, or it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("VmRSS:")), None)
    return None if found is None else 1024 * int(found)


def refuse_beyond_memory(needed: int, what: str, way_out: str) -> None:
    """Raise :class:`OutOfMemory` if ``needed`` bytes for ``what`` are more than there is at all."""
    there = machine_bytes()
    if needed > there:
        raise OutOfMemory(
            f"{what} needs {human_bytes(needed)}, this machine has {human_bytes(there)} in all; "
            f"{way_out}"
        )


def is_shortage(error: BaseException) -> bool:
    """Whether an error of any library says that memory could not be had."""
    if isinstance(error, MemoryError):
        return True
    said = str(error)
    return isinstance(error, (RuntimeError, OSError)) and any(part in said for part in _SAID)


@contextmanager
def shortage_named(what: str) -> Iterator[None]:
    """Errors of any library that say so become :class:`OutOfMemory`: ``what`` could not be done.

    As a decorator, for the whole of a function.
    """
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise
        raise OutOfMemory(
            f"not enough memory {what}; close other programs, or use a smaller model, context or "
            "window"
        ) from error
