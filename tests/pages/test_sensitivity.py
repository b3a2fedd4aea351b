"""The page of sensitivities: every part in it, findings that are those of the result."""

from dataclasses import replace
from pathlib import Path

import pytest

from tersor.errors import OutputError
from tersor.pages import page_place
from tersor.pages.sensitivity import sensitivity_page
from tersor.pipeline.sensitivity.result import Sensitivity, SensitivityResult, spearman
from tersor.report.html import Picture, Table, render


def result(exact: bool = True) -> SensitivityResult:
    rows = tuple(
        Sensitivity(
            f"layers.{b}.{role}", role, b, scheme, 1, 64, 40, kl, kl * 1.1 if exact else None
        )
        for scheme, factor in (("w3", 4.0), ("w4", 1.0))
        for b in range(3)
        for role, kl in (("q", 0.01 * factor * (b + 1)), ("up", 0.02 * factor), ("expert", 0.0))
    )
    return SensitivityResult(
        Path("m/model"),
        "w4",
        "linear",
        "mean",
        rows,
        "a text",
        9,
        spearman(rows) if exact else {},
        ("measured without the recipe's scaling",),
        3.0,
    )


@pytest.mark.parametrize("exact", [True, False])
def test_every_part_is_in_the_page(exact: bool) -> None:
    page = sensitivity_page(result(exact))
    html = render(page)
    assert "layers.2.up" in html
    assert page.findings[0].startswith("w3: attention is ")
    assert ("Spearman" in html) == exact
    tables = [
        part for section in page.sections for part in section.parts if isinstance(part, Table)
    ]
    (every,) = (table for table in tables if table.columns[0] == "linear")
    assert [row[0] for row in every.rows][:2] == ["layers.2.q", "layers.0.up"]
    figures = dict(zip(every.columns, every.rows[0], strict=True))
    assert figures["w4"] == 0.03
    assert figures.get("w4 exact") == (0.033 if exact else None)
    assert figures["w3 per M weights"] == pytest.approx(
        (0.132 if exact else 0.12) / 64e-6, rel=0.01
    )
    pictures = [p for section in page.sections for p in section.parts if isinstance(p, Picture)]
    assert len(pictures) == 2 + exact
    assert "Measured without the recipe&#39;s scaling." in html


def test_ten_thousand_linears_stay_small() -> None:
    names = [f"model.layers.{b}.mlp.experts.{e}.down_proj" for b in range(50) for e in range(200)]
    rows = tuple(
        Sensitivity(name, "expert", int(name.split(".")[2]), scheme, 1, 2048, 1100, kl / 7e5, None)
        for scheme in ("w3", "w4", "w8")
        for kl, name in enumerate(names)
    )
    html = render(sensitivity_page(replace(result(False), rows=rows)))
    assert html.count("</tr>") > 10_000
    assert len(html.encode()) < 5e6


@pytest.mark.parametrize("name", ["page.txt", "", "none/page.html"])
def test_where_no_page_can_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        page_place(tmp_path / name)
