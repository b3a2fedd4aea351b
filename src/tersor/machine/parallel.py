"""Work on several cores, with results that do not depend on how many there are.

Pieces of work are many and small, so a thread for each wastes less than splitting every operation
over all cores. torch itself runs single-threaded meanwhile: sums inside an operation then have one
order, whatever the machine.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_T = TypeVar("_T")
_R = TypeVar("_R")


@contextmanager
def one_thread_each() -> Iterator[int]:
    """While active, torch uses one thread per caller. Yields how many callers make sense."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield cores
    finally:
        torch.set_num_threads(cores)


def in_order(work: Callable[[_T], _R], jobs: Iterable[_T]) -> Iterator[_R]:
    """``work`` of every job, in the order of the jobs, one job per core.

    Jobs are drawn, and results kept, only a few ahead of the caller. Gradients are off.
    """

    def without_gradients(job: _T) -> _R:
        with torch.no_grad():
            return work(job)

    with one_thread_each() as cores, ThreadPoolExecutor(cores) as pool:
        ahead: deque[Future[_R]] = deque()
        try:
            for job in jobs:
                ahead.append(pool.submit(without_gradients, job))
                if len(ahead) > cores:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
