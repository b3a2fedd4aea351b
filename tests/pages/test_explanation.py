"""Pages of ``explain`` and ``inspect``: what they say is what was found."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tersor
from every_scheme import SAMPLE, gaussian, label
from tersor.explaining.weight import follow
from tersor.grids import TensorScheme
from tersor.inspection.losses import fitted_levels
from tersor.inspection.matrix import matrix_view
from tersor.pages.explanation import values_page, weight_page
from tersor.pages.inspected import inspection_page
from tersor.pages.levels import grid_levels
from tersor.pages.spreads import histogram_picture
from tersor.pipeline.inspecting.found import ModelInspection
from tersor.ranges import MinMax
from tersor.report.html import render
from tersor.rounding import nearest
from tiny_models import save_tiny, save_tokenizer

VALUES = "-1.5,0,0.007,0.014,2.0"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    save_tiny("llama", root / "model")
    save_tokenizer(root / "model")
    for recipe in ("w4", "nf4"):
        tersor.quantize(root / "model", root / recipe, recipe)
    return root


def shown(page: str) -> str:
    """The text of a page, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_values() -> None:
    page = render(values_page(tersor.explain(VALUES, asymmetric=True)))
    text = shown(page)
    assert "z = round(q_min - min / s) = round(-128 - (-1.5) / 0.01372549)" in text
    assert text.count("all of it rounding") == 3
    assert "0.007 → code -18 → 0.01372549, error -0.006725" in text


def test_hundreds_of_values_make_a_small_page() -> None:
    found = tersor.explain(",".join(str(i / 7 - 20) for i in range(300)), 4)
    page = render(values_page(found))
    assert len(page) < 100_000
    assert page.count("<details") == 1


def test_a_weight(places: Path) -> None:
    found = tersor.explain_weight(places / "model", "layers.0.mlp.up_proj")
    text = shown(render(weight_page(found)))
    assert found.path.step is not None
    assert f"becomes the code {found.path.code} and comes back as" in text
    assert "with only the matrix rounded it moves by" in text


def test_a_weight_without_its_original(places: Path) -> None:
    found = tersor.explain_weight(places / "w4", "layers.0.mlp.up_proj")
    text = shown(render(weight_page(found)))
    assert f"The code {found.path.code} stands for" in text
    assert "give it as --base" in text


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_the_weight_comes_back_as_one_of_the_levels(scheme: TensorScheme) -> None:
    weight = gaussian(3, 70)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16)
    path = follow(rounded.tensor, 1, 37, weight, rounded.bounds)
    levels = grid_levels(path)
    assert min(abs(level - path.restored) for level in levels) <= 1e-6 * abs(path.restored)
    assert levels == sorted(levels)


def test_levels_of_a_fitted_grid() -> None:
    assert fitted_levels(-1.5, 2.0, 2, asymmetric=True) == pytest.approx((-7 / 6, 0, 7 / 6, 7 / 3))
    assert fitted_levels(-1.0, 1.5, 2, asymmetric=False) == pytest.approx((-2, -1, 0, 1))
    assert len(fitted_levels(0.0, 0.0, 4, asymmetric=True)) == 16


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("model",), "What bits and groups lose"),
        (("w4",), "How often codes occur"),
        (("w4", "nf4"), "Matrix by matrix"),
    ],
)
@pytest.mark.parametrize("held_against", [True, False])
def test_inspections(
    names: tuple[str, ...], said: str, held_against: bool, places: Path, tmp_path: Path
) -> None:
    base = places / "model" if held_against and names != ("model",) else None
    out = tmp_path / "page.html"
    found = tersor.inspect(*(places / name for name in names), base=base, out=out)
    text = shown(out.read_text())
    assert said in text
    for sentence in found.findings:
        assert " ".join(sentence.replace("`", " ").split()) in text.replace("  ", " ")
    assert out.read_text() == render(inspection_page(found))


def test_ten_thousand_linears_make_less_than_five_megabytes() -> None:
    """Each one more takes as much as the others do; what does not grow is in both pages."""
    view = matrix_view("model.layers.10.mlp.experts.127.down_proj", 10, "r", gaussian(8, 160))
    whole = replace(view, inputs=view.columns)

    def size(count: int) -> int:
        views = tuple(
            replace(whole, module=f"{view.module}.{i:04}", block=i % 60) for i in range(count)
        )
        found = ModelInspection(Path("big"), "x", 60, False, views, None, ())
        return len(render(inspection_page(found)).encode())

    few, more = size(100), size(600)
    assert few < more
    assert few + 9_900 * (more - few) / 500 < 5_000_000


def test_a_matrix_of_zeros_has_its_picture() -> None:
    view = matrix_view("m", 0, "r", torch.zeros(4, 70))
    assert "svg" in histogram_picture(view, asymmetric=False).svg
