"""What ``explain`` prints: findings, then every formula with its numbers."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tersor.cli.printing.layout import print_table, say
from tersor.cli.printing.show import print_json

if TYPE_CHECKING:
    from tersor.explaining import Explanation, Step
    from tersor.explaining.formulas import Line
    from tersor.pipeline.inspecting.weight import WeightExplanation

_IN_FULL = 8
_ROWS = 40
_WORST = 12


def values(found: "Explanation", as_json: bool) -> None:
    """A few values: those of up to 8 formula by formula, of more the worst one."""
    from tersor.explaining.formulas import findings, grid_lines, number, step_lines, third_part

    if as_json:
        print_json(found.to_dict())
        return
    for sentence in findings(found):
        say(sentence, 0)
    print()
    _lines(grid_lines(found), 12)
    few = len(found.steps) <= _IN_FULL
    for step in found.steps if few else (found.worst,):
        print(f"\nw = {number(step.value)}" + ("" if few else ", which loses most"))
        ends = (found.lowest, found.highest)
        _lines(step_lines(step, found.scale, found.zero_point, ends), 10, 2)
    print()
    _table(found.steps, third_part(not found.symmetric))


def weight(found: "WeightExplanation", as_json: bool) -> None:
    """One weight of a model, from its file through its code to a logit."""
    from tersor.explaining import weight_lines as lines

    if as_json:
        print_json(found.to_dict())
        return
    path = found.path
    say(f"{found.module}, row {path.row}, column {path.column}: {found.chosen}", 2)
    recipe = "" if found.recipe is None else f"{found.recipe}: "
    say(f"{recipe}{path.scheme}, matrix of {path.shape[0]} x {path.shape[1]}", 2)
    for part in (lines.stored_lines(path), lines.scale_lines(path), lines.code_lines(path)):
        print()
        _lines(part, 12)
    if found.packed is not None:
        print()
        _lines(lines.packed_lines(found.packed, path.row), 12)
    if said := lines.matrix_line(path):
        print()
        _lines([("matrix", said)], 12)
    if found.effect is not None:
        print()
        _lines(lines.effect_lines(path, found.effect), 12)
    for note in found.notes:
        say(f"{'note':<12}{note}", 12)


def _table(steps: "Iterable[Step]", third: str) -> None:
    shown = list(steps)
    if len(shown) > _ROWS:
        say(f"the {_WORST} of {len(shown)} values with the largest errors (all: --json)", 2)
        shown = sorted(shown, key=lambda step: -abs(step.error))[:_WORST]
    rows = [
        {
            "w": step.value,
            "w / s": step.scaled,
            "q": step.code,
            "w'": step.restored,
            "error": step.error,
            "rounding": step.rounding,
            "clipping": step.clipping,
            third: step.zero_point,
        }
        for step in shown
    ]
    print_table(rows, ("w",))


def _lines(lines: "Iterable[Line]", width: int, indent: int = 0) -> None:
    for label, text in lines:
        say(f"{'':<{indent}}{label:<{width}}{text}", indent + width)
