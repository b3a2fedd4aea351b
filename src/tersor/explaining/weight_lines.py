"""The way of one weight as text, formulas with the numbers put in."""

from collections.abc import Iterator
from math import floor, log2

import torch

from tersor.explaining.effect import Effect
from tersor.explaining.formulas import (
    Line,
    affine_scale,
    affine_zero_point,
    error_line,
    number,
    operand,
    step_lines,
    third_part,
)
from tersor.explaining.packed import PackedCode
from tersor.explaining.weight import Group, WeightPath
from tersor.grids import ScaleFormat


def stored_lines(path: WeightPath) -> Iterator[Line]:
    """The weight in the original's file, and those that it shares a scale with."""
    stored = path.stored
    if stored is not None:
        yield (
            "original",
            f"w = {number(stored.value)}, in {stored.dtype} {stored.bits}: {stored.formula}",
        )
    yield "group", _group(path.group, path.row)


def _group(group: Group, row: int) -> str:
    if group.all_rows:
        who = "all weights of the matrix share a scale"
    else:
        who = f"columns {group.start} to {group.stop - 1} of row {row} share a scale"
    if group.low is None or group.high is None:
        return who
    return f"{who}: min = {number(group.low)}, max = {number(group.high)}"


def scale_lines(path: WeightPath) -> Iterator[Line]:
    """Scale, as stored, and zero point."""
    group, stored = path.group, f"stored as {path.scale_type}: {number(path.scale)}"
    low, high, exact = group.range_low, group.range_high, group.exact_scale
    if low is None or high is None or exact is None:
        yield "scale", f"s = {number(path.scale)}, as stored ({path.scale_type})"
        if path.zero_point is not None:
            yield "zero point", f"z = {path.zero_point}, as stored: this code stands for 0"
        return
    if (low, high) != (group.low, group.high):
        said = f"the grid was fitted to {number(low)} … {number(high)}: the rest is clipped"
        yield "range", said
    if low == high == 0:
        yield "scale", "s = 1: all weights of the group are 0, and any scale is right"
    elif path.zero_point is not None:
        yield "scale", f"{affine_scale(low, high, path.grid.bits, exact)}, {stored}"
    else:
        yield "scale", f"{_scale(path, low, high, exact)}, {stored}"
    if path.zero_point is not None and path.grid.integers is not None:
        lowest = path.grid.integers.lowest
        yield "zero point", affine_zero_point(low, path.scale, lowest, path.zero_point)


def _scale(path: WeightPath, low: float, high: float, exact: float) -> str:
    """Of a symmetric grid: the largest magnitude lands on the number that it is divided by."""
    largest = max(-low, high)
    if path.scheme.scale_format is ScaleFormat.E8M0:
        return (
            f"s = 2^(floor(log2 max|w|) - 2) = 2^({floor(log2(largest))} - 2) for max|w| = "
            f"{number(largest)}"
        )
    integers = path.grid.integers
    if integers is not None and integers.signed_scale:
        extreme = low if -low > high else high
        return (
            f"s = w of largest |w| / {integers.lowest - integers.zero} = {number(extreme)} / "
            f"{integers.lowest - integers.zero} = {number(exact)}"
        )
    one = torch.tensor(1.0)
    divisor = number(1 / float(path.grid.scale_for(-one, one)))
    return f"s = max|w| / {divisor} = {number(largest)} / {divisor} = {number(exact)}"


def code_lines(path: WeightPath) -> Iterator[Line]:
    """From the weight to its code and back."""
    step, integers = path.step, path.grid.integers
    if step is None:
        yield "code", f"q = {path.code}, as stored"
        yield from _restored(path)
        return
    if integers is None:
        yield "w / s", f"{number(step.value)} / {number(path.scale)} = {number(step.scaled)}"
        tie = ", half-way between two" if step.tie else ""
        levels = len({level for level in path.grid.levels if abs(level) < float("inf")})
        yield "level", f"{number(step.rounded)} is the nearest of {levels} levels{tie}"
        yield "code", _chosen(path)
        yield from _restored(path)
        yield "w - w'", error_line(step, asymmetric=False)
        return
    ends, zero = (integers.lowest, integers.highest), path.zero_point
    if zero is None and integers.zero:
        zero = integers.zero
    for label, text in step_lines(step, path.scale, zero, ends):
        if label == "clip" and path.code != path.nearest_code:
            yield "code", _chosen(path)
        else:
            yield label, text


def _chosen(path: WeightPath) -> str:
    """The code, and why it may be another than the nearest."""
    if path.nearest_code is None or path.code == path.nearest_code:
        return f"q = {path.code}"
    return (
        f"q = {path.code}, not {path.nearest_code}, which is nearest: the method that chose it "
        "looked at more than this weight"
    )


def _restored(path: WeightPath) -> Iterator[Line]:
    scale = number(path.scale)
    if path.grid.integers is None:
        level = path.grid.levels[path.code]
        yield "w'", f"s · level = {scale} · {operand(level)} = {number(path.restored)}"
        return
    zero = path.grid.integers.zero if path.zero_point is None else path.zero_point
    yield (
        "w'",
        f"s · (q - z) = {scale} · ({path.code} - {operand(zero)}) = {number(path.restored)}",
    )


def packed_lines(packed: PackedCode, row: int) -> Iterator[Line]:
    """Where the code lies in the file."""
    high = packed.lowest + len(packed.bits) - 1
    what = {"int32": "word", "uint8": "byte"}.get(packed.dtype, "value")
    before = packed.word[: len(packed.word) - high - 1]
    after = packed.word[len(packed.word) - packed.lowest :]
    said = f"{packed.tensor}, row {row}, {what} {packed.element}"
    if len(packed.word) == len(packed.bits):
        yield "in the file", f"{said} ({packed.dtype}): {packed.bits}"
        return
    shown = " ".join(part for part in (before, f"[{packed.bits}]", after) if part)
    yield "in the file", f"{said}, bits {packed.lowest} to {high}: {shown}"
    if packed.offset:
        yield (
            "",
            f"{packed.bits} is {int(packed.bits, 2)}: the code plus {packed.offset}, so that none "
            "is negative",
        )


def matrix_line(path: WeightPath) -> str:
    """What all weights of the matrix lost together; empty without the original."""
    lost = path.matrix
    if lost is None:
        return ""
    weights = path.shape[0] * path.shape[1]
    if lost.mse <= 0:
        return f"nothing is lost of its {weights} weights"
    parts = (
        ("rounding", lost.rounding),
        ("clipping", lost.clipping),
        (third_part(path.zero_point is not None), lost.zero_point),
    )
    shares = [(name, part / lost.mse) for name, part in parts if abs(part) > 0.0005 * lost.mse]
    said = ", ".join(f"{share:.1%} {name}" for name, share in shares)
    return (
        f"{weights} weights, signal to noise {number(lost.sqnr_db, 3)} dB; of the mean squared "
        f"error {number(lost.mse, 3)}: {said}"
    )


def effect_lines(path: WeightPath, found: Effect) -> Iterator[Line]:
    """Its share of one output, and of one logit."""
    output, logit = found.output, found.logit
    yield "text", f"{found.text!r}, {found.tokens} tokens; what follows is at the last of them"
    if output is not None:
        error = 0.0 if path.step is None else -path.step.error
        yield (
            "output",
            f"row {path.row} multiplies column {path.column} of its input, x = "
            f"{number(output.input, 4)}: rounding adds x · (w' - w) = "
            f"{number(output.input, 4)} · {operand(error, 4)} = {number(output.change, 4)} to "
            f"output {path.row}, which is {number(output.output, 4)}",
        )
        yield (
            "",
            f"all {path.shape[1]} weights of the row together add {number(output.row_change, 4)}",
        )
    yield "logit", f"the model goes on with {logit.token!r}, logit {number(logit.logit, 5)}"
    for what, moved in (
        ("this weight", logit.by_weight),
        (f"row {path.row}", logit.by_row),
        ("the matrix", logit.by_matrix),
    ):
        yield "", f"with only {what} rounded it moves by {_moved(moved, logit.resolution)}"
    yield "", "(the model was run with each of them replaced)"


def _moved(moved: float, resolution: float) -> str:
    if abs(moved) < resolution:
        return f"less than float32 tells apart ({number(resolution, 1)})"
    return f"{moved:+.3g}"


def weight_findings(path: WeightPath, effect: Effect | None) -> Iterator[str]:
    """What there is to see, in sentences."""
    step = path.step
    if step is None:
        yield f"The code {path.code} stands for {number(path.restored)}."
        return
    yield (
        f"{number(step.value)} becomes the code {path.code} and comes back as "
        f"{number(step.restored)}: its error is {error_line(step, path.zero_point is not None)}."
    )
    if step.value != 0:
        yield (
            f"That is {abs(step.error / step.value):.2g} of the weight, and "
            f"{abs(step.error / path.scale):.2g} of a step; rounding alone loses half a step at "
            "most."
        )
    if said := matrix_line(path):
        yield f"The matrix: {said}."
    if effect is not None:
        logit = effect.logit
        yield (
            f"On {effect.text!r} the model goes on with {logit.token!r}; its logit "
            f"{number(logit.logit, 4)} moves by {_moved(logit.by_weight, logit.resolution)} if "
            f"this weight is rounded, by {_moved(logit.by_row, logit.resolution)} if its row is, "
            f"by {_moved(logit.by_matrix, logit.resolution)} if the matrix is."
        )
