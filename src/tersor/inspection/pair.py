"""Two artifacts beside each other, matrix by matrix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tersor.inspection.matrix import CodesView


@dataclass(frozen=True)
class Difference:
    """One matrix in two artifacts; ``gained``: decibels by which the second lost less."""

    first: CodesView
    second: CodesView

    @property
    def module(self) -> str:
        """The name that it has in both."""
        return self.first.module

    @property
    def gained(self) -> float | None:
        """``None`` without an original, or where nothing was lost."""
        one, two = self.first.sqnr_db, self.second.sqnr_db
        return None if one is None or two is None else two - one


def differences(first: Sequence[CodesView], second: Sequence[CodesView]) -> tuple[Difference, ...]:
    """Of the matrices that both have, the largest first."""
    others = {view.module: view for view in second}
    both = [Difference(view, others[view.module]) for view in first if view.module in others]
    return tuple(sorted(both, key=lambda one: -abs(one.gained or 0.0)))


def pair_findings(
    names: tuple[str, str], first: Sequence[CodesView], second: Sequence[CodesView]
) -> tuple[str, ...]:
    """The most important first."""
    found = differences(first, second)
    return (*_gains(names, found), *_only(names, first, second), *_schemes(found))


def _gains(names: tuple[str, str], found: Sequence[Difference]) -> Iterator[str]:
    gains = [(one.gained, one.module) for one in found if one.gained is not None]
    if not gains:
        yield "What was lost is not known without the original; give it as --base."
        return
    better = sum(1 for gain, _ in gains if gain > 0)
    usual = median(gain for gain, _ in gains)
    gain, module = max(gains, key=lambda pair: abs(pair[0]))
    yield (
        f"{names[1]} is nearer to the original than {names[0]} in {better} of {len(gains)} "
        f"matrices, by {usual:+.3g} dB in the median; the largest difference is {gain:+.3g} dB, in "
        f"{module}. That is about weights: methods that look at text lose more of "
        "them to lose less of what they compute, which `tersor evaluate --base` measures."
    )


def _only(
    names: tuple[str, str], first: Sequence[CodesView], second: Sequence[CodesView]
) -> Iterator[str]:
    one, two = ({view.module for view in views} for views in (first, second))
    for name, only in ((names[0], sorted(one - two)), (names[1], sorted(two - one))):
        if only:
            yield f"{len(only)} matrices are quantized only in {name}, the first is {only[0]}."


def _schemes(found: Sequence[Difference]) -> Iterator[str]:
    other = [one for one in found if one.first.scheme != one.second.scheme]
    if other:
        one = other[0]
        yield (
            f"{len(other)} of {len(found)} matrices have other schemes, as {one.module}: "
            f"{one.first.scheme} and {one.second.scheme}."
        )
