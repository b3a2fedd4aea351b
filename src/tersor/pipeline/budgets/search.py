"""From a goal to an artifact: the best choice by prediction, made, measured, and published."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tersor.allocation import Allocation
from tersor.checkpoints.scratch import scratch_directory
from tersor.pipeline.budgets.choosing import Choosing, Watch, choosing
from tersor.pipeline.budgets.found import Budget
from tersor.pipeline.budgets.goal import NEAR, Bits, Divergence, Goal, Size
from tersor.pipeline.budgets.limit import Limit, cannot, limit_of, reachable_labels
from tersor.pipeline.budgets.space import space_of
from tersor.pipeline.budgets.trial import Judge, Trial
from tersor.pipeline.planning import Plan
from tersor.pipeline.quantize import output
from tersor.pipeline.request import Request
from tersor.pipeline.result import QuantizeResult

_TRIALS = 8


def planned_within(request: Request, goal: Goal, *, any_widths: bool, watch: Watch) -> Plan:
    """The mixture for a goal by prediction alone; no artifact is made or measured.

    Raises :class:`~tersor.errors.OptionError` for a goal that nothing meets.
    """
    started = time.perf_counter()
    found, limit = _choosing(request, goal, any_widths, watch)
    if limit is None:
        mixture, uniform = found.beyond(goal.value), found.uniform_beyond(goal.value)
        if mixture is None:
            raise cannot(goal, least_predicted(found))
    else:
        mixture, uniform = _mixture(found, limit), found.uniform_within(limit.most)
    budget = _budget(found, mixture, uniform, "mixture", started)
    note = "the divergence is predicted, not measured" if limit is None else ""
    budget = replace(budget, notes=(note,) if note else ())
    return replace(found.plan(mixture), budget=budget)


def quantize_within(
    request: Request,
    goal: Goal,
    out: Path,
    *,
    any_widths: bool,
    force: bool = False,
    watch: Watch = lambda _: None,
) -> QuantizeResult:
    """The best artifact within the goal, in the directory ``out``.

    The mixture and the uniform scheme of the same size (or, for a divergence, of the same
    divergence) are made and measured, and the better one is written.

    Raises as :func:`~tersor.pipeline.quantize.quantize_to` does, and
    :class:`~tersor.errors.OptionError` for a goal that nothing meets.
    """
    started = time.perf_counter()
    found, limit = _choosing(request, goal, any_widths, watch)
    with scratch_directory() as scratch:
        judge = Judge(request.source, scratch, request.calibration)
        run = _Trials(found, judge, watch)
        if limit is None:
            mixture, uniform = run.beyond(goal.value)
        else:
            mixture, uniform = run.within(limit)
        won = _winner(goal, mixture, uniform)
        other = None if uniform is None else uniform.allocation
        written = "uniform" if won is uniform else "mixture"
        budget = replace(
            _budget(found, mixture.allocation, other, written, started),
            text=judge.text,
            tried=tuple(run.tried) if limit is None else (),
            notes=tuple(run.notes),
        )
        budget = replace(
            budget,
            mixture=found.outcome(mixture.allocation, mixture.trial.kl),
            uniform=None
            if uniform is None
            else found.outcome(uniform.allocation, uniform.trial.kl),
        )
        return _published(request, won.trial, budget, out, force, started)


@dataclass(frozen=True, eq=False)
class _Made:
    allocation: Allocation
    trial: Trial


@dataclass(eq=False)
class _Trials:
    """Allocations made and measured; of those that lost, nothing is left on the disk."""

    found: Choosing
    judge: Judge
    watch: Watch
    tried: list[tuple[int, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def within(self, limit: Limit) -> tuple[_Made, _Made | None]:
        """The mixture within a size, and the uniform scheme."""
        mixture = self._fitting(self.found.within, limit)
        assert mixture is not None
        return mixture, self._uniform(
            mixture, self._fitting(lambda most, _: self.found.uniform_within(most), limit)
        )

    def beyond(self, target: float) -> tuple[_Made, _Made | None]:
        """The smallest mixture within a measured divergence, and the uniform scheme."""
        mixture = self._smallest(self.found.beyond, target, target)
        if mixture is None:
            raise cannot(self.found.goal, min(kl for _, kl in self.tried))
        if mixture.trial.kl < (1 - NEAR) * target:
            self.notes.append(
                f"the measured divergence is {mixture.trial.kl:.4g}: of all that was tried "
                "nothing comes nearer to what was asked for from below"
            )
        share = mixture.allocation.loss / mixture.trial.kl if mixture.trial.kl else 1.0
        kept = list(self.tried)
        uniform = self._smallest(self.found.uniform_beyond, target, target * share)
        self.tried[:] = kept
        return mixture, self._uniform(mixture, uniform)

    def _fitting(
        self, choose: Callable[[int, int], Allocation | None], limit: Limit
    ) -> _Made | None:
        """One trial, and others with less where scales took more than was planned."""
        goal = self.found.goal
        while (allocation := choose(limit.most, limit.least)) is not None:
            made = self._made(allocation)
            plan = self.found.plan(allocation)
            over = made.trial.result.plan.bytes - plan.bytes
            if over <= 0 or limit.value(allocation.bytes + over) <= goal.value:
                return made
            limit = limit.lowered(over)
        return None

    def _smallest(
        self, choose: Callable[[float], Allocation | None], target: float, bound: float
    ) -> _Made | None:
        """Trials with one bound of the predicted loss after the other, until one is near."""
        best: _Made | None = None
        low, high = 0.0, float("inf")
        seen: list[dict[str, str]] = []
        for _ in range(_TRIALS):
            allocation = choose(bound) or choose(max(bound, self._least()))
            if allocation is None or self.found.choices(allocation) in seen:
                break
            seen.append(self.found.choices(allocation))
            made = self._made(allocation)
            kl = made.trial.kl
            if kl <= target:
                low = bound
                if best is None or allocation.bytes < best.allocation.bytes:
                    best = made
                if kl >= (1 - NEAR) * target:
                    break
            else:
                high = bound
            bound = _next(bound * target / max(kl, 1e-12) * (1 - NEAR / 2), low, high)
        return best

    def _least(self) -> float:
        """The least loss that any choice promises, and a little."""
        return least_predicted(self.found) * (1 + 1e-6) + 1e-12

    def _uniform(self, mixture: _Made, uniform: _Made | None) -> _Made | None:
        if uniform is None:
            return None
        same = self.found.choices(mixture.allocation) == self.found.choices(uniform.allocation)
        return mixture if same else uniform

    def _made(self, allocation: Allocation) -> _Made:
        number = len(self.tried) + 1
        plan = self.found.plan(allocation)
        trial = self.judge.measured(plan, self.watch(f"quantize, try {number}"))
        self.tried.append((trial.result.plan.bytes, trial.kl))
        return _Made(allocation, trial)


def _next(wanted: float, low: float, high: float) -> float:
    """A bound strictly between what was too little and what was too much."""
    if low < wanted < high:
        return wanted
    if high == float("inf"):
        return 2 * low
    return (low * high) ** 0.5 if low else high / 4


def _winner(goal: Goal, mixture: _Made, uniform: _Made | None) -> _Made:
    """The smaller one for a divergence, else the one that loses less; uniform if they are alike."""
    if uniform is None:
        return mixture
    if isinstance(goal, Divergence):
        better = mixture.allocation.bytes < uniform.allocation.bytes
    else:
        better = mixture.trial.kl < uniform.trial.kl
    return mixture if better else uniform


def _choosing(
    request: Request, goal: Goal, any_widths: bool, watch: Watch
) -> tuple[Choosing, Limit | None]:
    """What there is to choose, and the budget in bytes if it is one."""
    space = space_of(request.source, request.plan, goal.option, outside=not isinstance(goal, Bits))
    limit = None
    if isinstance(goal, Bits | Size):
        limit = limit_of(space, goal, request.plan.overhead(request.source))
    if limit is None:
        labels = space.own_labels()
    else:
        labels = reachable_labels(space, limit, goal, any_widths)
    found = choosing(request, goal, space, labels, any_widths=any_widths, watch=watch)
    if limit is not None:
        _mixture(found, limit)
    return found, limit


def _mixture(found: Choosing, limit: Limit) -> Allocation:
    mixture = found.within(limit.most, limit.least)
    if mixture is not None:
        return mixture
    below = found.within(limit.most)
    nearest = found.space.bounds(found.labels)[0] if below is None else below.bytes
    raise cannot(found.goal, limit.value(nearest))


def least_predicted(found: Choosing) -> float:
    """The least predicted loss of all choices."""
    return sum(min(option.loss for option in group.options) for group in found.groups)


def _budget(
    found: Choosing,
    mixture: Allocation,
    uniform: Allocation | None,
    written: str,
    started: float,
) -> Budget:
    goal = found.goal
    return Budget(
        option=goal.option,
        target=goal.value,
        asked=goal.said(goal.value),
        any_widths=found.any_widths,
        mixture=found.outcome(mixture),
        uniform=None if uniform is None else found.outcome(uniform),
        gap=mixture.gap,
        written=written,
        text="",
        sensitivity_seconds=found.seconds,
        seconds=time.perf_counter() - started,
    )


def _published(
    request: Request, trial: Trial, budget: Budget, out: Path, force: bool, started: float
) -> QuantizeResult:
    """The trial's artifact at ``out``."""
    plan = trial.result.plan
    with output(plan, out, force=force, source=request.source) as staging:
        file = plan.written_as.container.file
        if file is None:
            shutil.copytree(trial.path, staging, dirs_exist_ok=True)
        else:
            shutil.copy2(trial.path, staging / file)
    seconds = time.perf_counter() - started
    found = replace(budget, seconds=seconds)
    return replace(trial.result, directory=out, plan=replace(plan, budget=found), seconds=seconds)
