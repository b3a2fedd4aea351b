"""Formulas with the numbers put in, as lines of text: ``label → formula``."""

from collections.abc import Iterator

from tersor.explaining.steps import Step
from tersor.explaining.values import Explanation

# Shares that would be shown as 0 %.
_LEAST = 0.005

Line = tuple[str, str]
"""What it is, and how it comes about."""


def number(value: float, digits: int = 7) -> str:
    """A number in a formula; without a sign for zero."""
    return f"{value + 0.0:.{digits}g}"


def operand(value: float, digits: int = 7) -> str:
    """The same behind an operator: negative ones in parentheses."""
    said = number(value, digits)
    return f"({said})" if said.startswith("-") else said


def grid_lines(found: Explanation) -> Iterator[Line]:
    """How scale and zero point come about, and what the codes stand for."""
    kind = "symmetric" if found.symmetric else "asymmetric"
    yield (
        "codes",
        f"{found.bits} bits, signed, {kind}: whole numbers q from {found.lowest} to "
        f"{found.highest}",
    )
    if found.low is None or found.high is None:
        yield "scale", f"s = {number(found.scale)}, as given"
    else:
        yield "range", f"min = {number(found.low)}, max = {number(found.high)}"
        if found.symmetric:
            yield "scale", symmetric_scale(found.low, found.high, found.highest, found.scale)
        else:
            yield "scale", affine_scale(found.low, found.high, found.bits, found.scale)
    yield from _zero_point_lines(found)
    low, high = map(number, found.reach)
    yield "grid", f"q stands for w' = s · (q - z): from {low} to {high} in steps of s"


def _zero_point_lines(found: Explanation) -> Iterator[Line]:
    zero = found.zero_point
    if zero is None:
        yield "zero point", "z = 0: the code 0 stands for 0"
        return
    if found.zero_point_given:
        yield "zero point", f"z = {zero}, as given: this code stands for 0"
    else:
        low = min(step.value for step in found.steps) if found.low is None else found.low
        yield "zero point", affine_zero_point(low, found.scale, found.lowest, zero)
    yield "unsigned", unsigned(zero, found.lowest, found.highest)


def symmetric_scale(low: float, high: float, highest: int, scale: float) -> str:
    """``s = max|w| / 127``."""
    largest = max(-low, high, 0.0)
    if largest == 0:
        return "s = 1: all values are 0, and any scale is right"
    return f"s = max|w| / {highest} = {number(largest)} / {highest} = {number(scale)}"


def affine_scale(low: float, high: float, bits: int, scale: float) -> str:
    """``s = (max - min) / (2^b - 1)``; the range is first extended to contain 0."""
    if low == high == 0:
        return "s = 1: all values are 0, and any scale is right"
    with_zero = " (0 counts as a value)" if low > 0 or high < 0 else ""
    low, high = min(low, 0.0), max(high, 0.0)
    steps = (1 << bits) - 1
    return (
        f"s = (max - min) / (2^{bits} - 1) = ({number(high)} - {operand(low)}) / {steps} = "
        f"{number(scale)}{with_zero}"
    )


def affine_zero_point(low: float, scale: float, lowest: int, zero: int) -> str:
    """``z = round(q_min - min / s)``, for codes that begin at ``lowest``."""
    low = min(low, 0.0)
    exact = lowest - low / scale
    clipped = "" if round(exact) == zero else f", clipped to {zero}"
    return (
        f"z = round(q_min - min / s) = round({lowest} - {operand(low)} / {number(scale)}) = "
        f"round({number(exact)}) = {round(exact)}{clipped}"
    )


def unsigned(zero: int, lowest: int, highest: int) -> str:
    """What the better known formula of unsigned codes has to do with it."""
    return (
        f"codes from 0 to {highest - lowest} are the same {-lowest} higher, with z = "
        f"{zero - lowest}; z = round(-min / s) is the formula for those"
    )


def third_part(asymmetric: bool) -> str:
    """What neither rounding nor clipping lost: see :mod:`tersor.grids.error`."""
    return "zero point" if asymmetric else "end of the grid"


def step_lines(
    step: Step, scale: float, zero_point: int | None, ends: tuple[int, int]
) -> Iterator[Line]:
    """One value, formula by formula; ``ends``: the codes in use."""
    zero = zero_point or 0
    tie = ", half-way: the even one" if step.tie else ""
    yield "w / s", f"{number(step.value)} / {number(scale)} = {number(step.scaled)}"
    yield "round", f"{number(step.rounded)}{tie}"
    if zero_point is not None:
        yield "+ z", f"{number(step.rounded)} + {operand(zero)} = {step.shifted}"
    yield "clip", _clip(step, ends)
    yield (
        "w'",
        f"s · (q - z) = {number(scale)} · ({step.code} - {operand(zero)}) = "
        f"{number(step.restored)}",
    )
    yield "w - w'", error_line(step, zero_point is not None)


def _clip(step: Step, ends: tuple[int, int]) -> str:
    low, high = ends
    if step.clipped:
        return f"{step.shifted} lies outside {low} … {high}: q = {step.code}"
    return f"{step.code} lies in {low} … {high}: q = {step.code}"


def error_line(step: Step, asymmetric: bool) -> str:
    """The error in its parts, without those that are 0."""
    parts = {
        "rounding": step.rounding,
        "clipping": step.clipping,
        third_part(asymmetric): step.zero_point,
    }
    lost = {name: part for name, part in parts.items() if part != 0}
    if not lost:
        return "0: nothing is lost"
    if len(lost) == 1:
        return f"{number(step.error, 4)}, all of it {next(iter(lost))}"
    said = " + ".join(f"{operand(part, 4)} ({name})" for name, part in lost.items())
    return f"{number(step.error, 4)} = {said}"


def findings(found: Explanation) -> Iterator[str]:
    """What there is to see, in sentences."""
    worst, half = found.worst, found.scale / 2
    if worst.error == 0:
        yield "Nothing is lost: every value is one that a code stands for."
    else:
        yield (
            f"{number(worst.value)} loses most: it comes back as {number(worst.restored)}, error "
            f"{number(worst.error, 4)}. Half a step, the most that rounding alone can lose, is "
            f"{number(half, 4)}."
        )
    one_sided = found.low is not None and found.high is not None and found.low * found.high >= 0
    if found.symmetric and one_sided and len(found.steps) > 1 and worst.error != 0:
        yield (
            "All values lie on one side of 0, so half of the codes are idle: --asymmetric uses "
            "them."
        )
    cut = [step for step in found.steps if step.clipping != 0]
    if cut:
        low, high = map(number, found.reach)
        count = f"{len(cut)} of {len(found.steps)} values"
        yield (
            f"{count} {'lies' if len(cut) == 1 else 'lie'} outside the grid, which reaches from "
            f"{low} to {high}: they get its end, and the rest is clipped."
        )
        zero = found.zero_point
        if found.zero_point_given and zero is not None and zero >= 0:
            most = found.highest - found.lowest
            yield (
                f"If z = {zero} was meant for codes from 0 to {most}, it is {zero + found.lowest} "
                "for signed ones."
            )
    shared = len({step.value for step in found.steps}) - found.codes_used
    if shared > 0:
        different = found.codes_used + shared
        yield (
            f"{different} different values got {found.codes_used} codes: what shares a code comes "
            "back as one value."
        )
    parts = found.parts
    if parts.mse > 0:
        shares = {
            "rounding": parts.rounding / parts.mse,
            "clipping": parts.clipping / parts.mse,
            third_part(not found.symmetric): parts.zero_point / parts.mse,
        }
        said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= _LEAST)
        yield (
            f"Mean squared error {number(parts.mse, 3)} ({said}), signal to noise "
            f"{number(parts.sqnr_db, 3)} dB."
        )
