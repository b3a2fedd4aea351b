"""What ``inspect`` prints: findings first, then what stands out, then medians by role."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tersor.cli.printing.layout import print_table, say
from tersor.cli.printing.show import print_json

if TYPE_CHECKING:
    from tersor.pipeline.inspecting.found import (
        ArtifactInspection,
        ModelInspection,
        PairInspection,
    )

_WORST = 6


def model(found: "ModelInspection", as_json: bool) -> None:
    """The linears of a model."""
    if as_json:
        print_json(found.to_dict())
        return
    millions = found.weights / 1e6
    say(
        f"{found.model}: {len(found.matrices)} linears in {found.blocks} blocks, {millions:.4g} "
        "million weights",
        2,
    )
    _findings(found.findings)
    say("What stands out:", 2)
    for one in found.unusual:
        say(f"  {one.view.module}: {one.why}", 4)
    print()
    say("Signal to noise in dB, medians, by bits and by what shares a scale:", 2)
    print_table(_losses(found), ("bits",))
    print()
    say("By role, medians; 8 and 4 bits in dB, one scale per channel or group of 64:", 2)
    print_table(_roles(found), ("role",))
    if found.text is not None:
        say(f"inputs: {found.text}", 2)
    for note in found.notes:
        say(f"note: {note}", 2)


def _losses(found: "ModelInspection") -> list[dict[str, object]]:
    from tersor.inspection.losses import GRANULARITIES, WIDTHS
    from tersor.inspection.roles import median_sqnr

    return [
        {"bits": bits} | {g: median_sqnr(found.matrices, bits, g) for g in GRANULARITIES}
        for bits in WIDTHS
    ]


def _roles(found: "ModelInspection") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for role in found.roles:
        sqnr = dict(role.sqnr_db)
        row: dict[str, object] = {
            "role": role.role,
            "n": role.matrices,
            "kurtosis": role.kurtosis,
            "column": role.column_ratio,
            "input": role.input_ratio,
            "8 ch": sqnr["8 bits channel"],
            "4 ch": sqnr["4 bits channel"],
            "4 g64": sqnr["4 bits g64"],
        }
        rows.append({name: value for name, value in row.items() if name != "input" or found.text})
    return rows


def artifact(found: "ArtifactInspection", as_json: bool) -> None:
    """The codes of an artifact."""
    if as_json:
        print_json(found.to_dict())
        return
    recipe = "" if found.recipe is None else f", recipe {found.recipe}"
    say(f"{found.model}: {len(found.matrices)} quantized matrices, {found.format}{recipe}", 2)
    _findings(found.findings)
    lost = [view for view in found.matrices if view.sqnr_db is not None]
    if lost:
        say("What lost most:", 2)
        for view in sorted(lost, key=lambda view: view.sqnr_db or 0.0)[:_WORST]:
            say(f"  {view.module}: {view.sqnr_db:.3g} dB", 4)
        print()
    elif found.base is None:
        say("note: what was lost is not known without the original; give it as --base", 2)
    for note in found.notes:
        say(f"note: {note}", 2)
    print("By role, medians:")
    print_table(
        [
            {
                "role": role.role,
                "scheme": role.scheme,
                "n": role.matrices,
                "codes used": role.share_used,
                "entropy": role.entropy,
            }
            | ({"dB": role.sqnr_db} if lost else {})
            for role in found.roles
        ],
        ("role", "scheme"),
    )


def pair(found: "PairInspection", as_json: bool) -> None:
    """Two artifacts side by side."""
    if as_json:
        print_json(found.to_dict())
        return
    one, two = found.names
    say(f"{found.first.model} beside {found.second.model}", 2)
    _findings(found.findings)
    for note in dict.fromkeys((*found.first.notes, *found.second.notes)):
        say(f"note: {note}", 2)
    second = {(role.role): role for role in found.second.roles}
    rows = [
        {
            "role": role.role,
            f"entropy {one}": role.entropy,
            f"entropy {two}": other.entropy,
            f"dB {one}": role.sqnr_db,
            f"dB {two}": other.sqnr_db,
        }
        for role in found.first.roles
        if (other := second.get(role.role)) is not None
    ]
    if rows:
        print("By role, medians:")
        print_table(rows, ("role",))
    gains = [one for one in found.differences if one.gained is not None][:_WORST]
    if gains:
        print()
        say(f"Largest differences, in dB that {two} lost less:", 2)
        rows = [
            {
                "matrix": gain.module,
                one: gain.first.sqnr_db,
                two: gain.second.sqnr_db,
                "gained": gain.gained,
            }
            for gain in gains
        ]
        print_table(rows, ("matrix",))


def _findings(sentences: Iterable[str]) -> None:
    print()
    for number, sentence in enumerate(sentences, 1):
        say(f"{number}. {sentence}", 3)
    print()
