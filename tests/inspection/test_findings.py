"""Sentences, medians and ranks of a few matrices whose numbers are known."""

import pytest
import torch

from every_scheme import gaussian
from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.inspection.findings import codes_findings, model_findings, relative
from tersor.inspection.matrix import CodesView, MatrixView, codes_view, matrix_view
from tersor.inspection.pair import differences, pair_findings
from tersor.inspection.roles import codes_roles_of, median_sqnr, roles_of
from tersor.inspection.unusual import unusual
from tersor.ranges import MinMax
from tersor.rounding import nearest


@pytest.fixture(scope="module")
def views() -> list[MatrixView]:
    found = []
    for block in range(3):
        weight = torch.randn(30, 140, generator=torch.Generator().manual_seed(block))
        found.append(matrix_view(f"layers.{block}.up", block, "up", weight))
        spoiled = weight.clone()
        spoiled[3, 7] = 20.0 * (block + 1)
        found.append(matrix_view(f"layers.{block}.down", block, "down", spoiled))
    return found


def codes(bits: int, names: tuple[str, ...] = ("a.0.up", "a.1.up", "a.0.down")) -> list[CodesView]:
    found = []
    for seed, name in enumerate(names):
        weight = gaussian(8, 96, seed)
        scheme = TensorScheme(IntegerGrid(bits), Granularity.CHANNEL)
        tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
        found.append(codes_view(name, name.rpartition(".")[2], tensor, weight))
    return found


def test_findings_name_the_worst(views: list[MatrixView]) -> None:
    said = model_findings(views, asymmetric=False)
    hardest = next(one for one in said if one.startswith("Hardest"))
    lost = min(views, key=lambda view: view.sqnr(4, "g128") or 0.0).module
    assert lost.endswith("down")
    assert f"Hardest at 4 bits g128 is {lost} with" in hardest
    tails = next(one for one in said if "longer tails" in one)
    assert "in layers.2.down, whose largest weight is" in tails
    columns = next(one for one in said if "columns at least 4 times" in one)
    assert columns.startswith("3 of 6 matrices")
    assert "1 of 140" in columns
    assert not any("input" in one for one in said)


def test_what_decibels_mean() -> None:
    assert relative(20) == pytest.approx(0.1)
    assert relative(40) == pytest.approx(0.01)


def test_roles_are_medians(views: list[MatrixView]) -> None:
    up, down = roles_of(views)
    assert (up.role, up.matrices, up.weights) == ("up", 3, 3 * 30 * 140)
    kurtosis = sorted(view.spread.kurtosis for view in views if view.role == "down")
    assert down.kurtosis == kurtosis[1]
    assert up.input_ratio is None
    assert dict(up.sqnr_db)["4 bits g64"] == median_sqnr(
        [view for view in views if view.role == "up"], 4, "g64"
    )


def test_each_matrix_stands_out_once_with_all_its_reasons(views: list[MatrixView]) -> None:
    found = unusual(views)
    assert len({one.view.module for one in found}) == len(found)
    whys = {one.view.module: one.why for one in found}
    assert "loses most" in found[0].why
    assert "long tails" in whys["layers.2.down"]
    assert "1 of 140 columns" in whys["layers.2.down"]


def test_findings_of_codes() -> None:
    found = codes(4)
    said = codes_findings(found)
    assert "Against the original" in said[0]
    entropy = sum(view.codes.entropy for view in found) / 3
    assert f"Codes take 4 bits and hold {entropy:.3g} bits" in said[1]
    assert [(role.role, role.matrices) for role in codes_roles_of(found)] == [
        ("up", 2),
        ("down", 1),
    ]


def test_two_artifacts() -> None:
    names = ("three", "four")
    said = pair_findings(names, codes(3), codes(4))
    assert said[0].startswith("four is nearer to the original than three in 3 of 3 matrices, by +")
    assert said[1].startswith("3 of 3 matrices have other schemes, as ")
    gained = [one.gained for one in differences(codes(3), codes(4))]
    assert all(gain is not None and gain > 4 for gain in gained)
    fewer = codes(4, ("a.0.up",))
    assert "2 matrices are quantized only in three" in " ".join(
        pair_findings(names, codes(3), fewer)
    )
