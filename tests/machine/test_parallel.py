"""Several cores, one result: order, laziness, failures, and what is put back afterwards."""

import threading
from collections.abc import Iterator

import pytest
import torch

from tersor.machine.parallel import in_order, one_thread_each


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def cores(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_jobs(cores: int) -> None:
    second_done = threading.Event()

    def work(job: int) -> int:
        # With two cores the first job ends after the second.
        if job == 0 and cores > 1:
            assert second_done.wait(10)
        if job == 1:
            second_done.set()
        return job * job

    assert list(in_order(work, range(20))) == [n * n for n in range(20)]


def test_no_jobs_no_results(cores: int) -> None:
    assert list(in_order(lambda job: job, [])) == []
    assert torch.get_num_threads() == cores


def test_jobs_are_drawn_a_few_ahead_of_the_caller(cores: int) -> None:
    drawn: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(100):
            drawn.append(job)
            yield job

    results = in_order(lambda job: job, jobs())
    assert drawn == []
    for taken in range(1, 20):
        assert next(results) == taken - 1
        assert taken <= len(drawn) <= taken + cores
    results.close()
    assert len(drawn) < 30


def test_a_failure_reaches_the_caller_in_its_turn_and_stops_the_rest(cores: int) -> None:
    done: list[int] = []

    def work(job: int) -> int:
        if job == 5:
            raise ValueError("job 5")
        done.append(job)
        return job

    received: list[int] = []
    with pytest.raises(ValueError, match="job 5"):
        received.extend(in_order(work, range(1000)))
    assert received == [0, 1, 2, 3, 4]
    assert len(done) <= 5 + cores
    assert torch.get_num_threads() == cores


def test_a_failure_of_the_jobs_themselves(cores: int) -> None:
    def jobs() -> Iterator[int]:
        yield 1
        raise KeyError("no second job")

    threads = threading.active_count()
    with pytest.raises(KeyError, match="no second job"):
        list(in_order(lambda job: job, jobs()))
    assert threading.active_count() == threads
    assert torch.get_num_threads() == cores


def test_an_interrupt_of_the_caller_ends_the_threads(cores: int) -> None:
    def interrupted() -> None:
        for _ in in_order(lambda job: job, range(1000)):
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threading.active_count() == threads
    assert torch.get_num_threads() == cores


def test_gradients_are_off_in_workers_and_on_outside() -> None:
    weight = torch.ones(3, requires_grad=True)
    modes = list(in_order(lambda _: ((2 * weight).requires_grad, torch.is_grad_enabled()), [0, 1]))
    assert modes == [(False, False)] * 2
    assert torch.is_grad_enabled()


def test_torch_has_one_thread_meanwhile(cores: int) -> None:
    assert set(in_order(lambda _: torch.get_num_threads(), range(8))) == {1}
    assert torch.get_num_threads() == cores


def test_threads_are_put_back_after_nesting_and_failures(cores: int) -> None:
    with one_thread_each() as outer, one_thread_each() as inner:
        assert (outer, inner) == (cores, 1)
    assert torch.get_num_threads() == cores
    with pytest.raises(ValueError, match="inside"), one_thread_each():
        raise ValueError("inside")
    assert torch.get_num_threads() == cores


def test_work_inside_work(cores: int) -> None:
    def outer(job: int) -> list[int]:
        return list(in_order(lambda n: 10 * job + n, range(3)))

    assert list(in_order(outer, range(3))) == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
    assert torch.get_num_threads() == cores
