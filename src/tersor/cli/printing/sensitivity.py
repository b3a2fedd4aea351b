"""Sensitivities for people: by role, and the parts that lose most and least."""

from typing import TYPE_CHECKING, Any

from tersor.cli.printing.layout import print_table, say
from tersor.cli.printing.show import print_json
from tersor.report import duration, figure

if TYPE_CHECKING:
    from pathlib import Path

    from tersor.pipeline.sensitivity.result import Sensitivity, SensitivityResult

_MOST, _LEAST = 8, 4


def sensitivity(found: "SensitivityResult", as_json: bool, page: "Path | None" = None) -> None:
    """Findings first, then a row for each role, then single parts; ``page``: what was written."""
    if as_json:
        print_json(found.to_dict())
        return
    for one in found.contrasts():
        say(one.line(), 2)
    print()
    roles = found.by_role()
    if roles and found.by != "block":
        print("KL divergence in nats, summed over the linears of a role, each quantized alone:")
        print_table([_in_millions(role) for role in roles], ("role",))
        print()
    for scheme in found.schemes:
        _print_parts(found, scheme)
    _print_facts(found)
    if page is not None:
        say(f"written    {page}")


def _print_parts(found: "SensitivityResult", scheme: str) -> None:
    rows = found.of(scheme)
    if len(rows) <= _MOST + _LEAST:
        print(f"{scheme}, the most sensitive first:")
        shown = rows
    else:
        print(f"{scheme}, the {_MOST} most and the {_LEAST} least sensitive of {len(rows)}:")
        shown = [*rows[:_MOST], *rows[-_LEAST:]]
    print_table([_part(row, found) for row in shown], (found.by,))
    print()


def _part(row: "Sensitivity", found: "SensitivityResult") -> dict[str, Any]:
    measured = any(other.exact is not None for other in found.rows)
    exact = {"exact": row.exact} if measured else {}
    share = 1e6 * row.kl / row.weights
    return {
        found.by: row.part,
        "KL": row.estimate,
        **exact,
        "per M weights": share,
        "bits": 8 * row.bytes / row.weights,
    }


def _in_millions(role: dict[str, Any]) -> dict[str, Any]:
    shown = {"M weights" if k == "weights" else k: v for k, v in role.items()}
    return shown | {"M weights": role["weights"] / 1e6}


def _print_facts(found: "SensitivityResult") -> None:
    if "" in found.spearman:
        each = ", ".join(f"{k}: {figure(v, 3)}" for k, v in found.spearman.items() if k)
        measured = sum(row.exact is not None for row in found.rows)
        say(
            f"ranks      estimates and exact divergences: Spearman {figure(found.spearman[''], 3)} "
            f"of {measured} figures ({each})"
        )
    say(f"rounded    as {found.recipe} does, one {found.by} at a time")
    say(f"read       {found.text}; {found.positions} predictions")
    for note in found.notes:
        say(f"note       {note}")
    say(f"time       {duration(found.seconds)}")
