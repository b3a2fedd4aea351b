"""tersor's own format: schemes as in a recipe, readable by nobody else."""

import json
from typing import Any

import pytest

from every_scheme import FITTED, INT8_TOKEN, LINEARS, label
from tersor.errors import FormatError
from tersor.formats.kinds.own import description as own
from tersor.grids import Granularity, IntegerGrid, Scheme, TensorScheme, nf4

NF4 = Scheme(TensorScheme(nf4(), Granularity.GROUP, 64))
W8A8 = Scheme(TensorScheme(IntegerGrid(8), Granularity.CHANNEL), INT8_TOKEN)
KMEANS = Scheme(TensorScheme(FITTED[1], Granularity.GROUP, 64))


@pytest.mark.parametrize(
    # How codes are signed in memory is nobody's business on disk.
    "scheme",
    [s for s in LINEARS if getattr(s.weights.grid, "signed", True)],
    ids=label,
)
def test_reading_inverts_writing(scheme: Scheme) -> None:
    config = own.quantization_config({scheme: ["b", "a"]}, [])
    assert own.schemes_of(json.loads(json.dumps(config))) == {"a": scheme, "b": scheme}


def test_several_groups() -> None:
    groups = {W8A8: ["c"], NF4: ["a", "b"], KMEANS: ["d"]}
    config = own.quantization_config(groups, ["b", "a"])
    assert config["transposed"] == ["a", "b"]
    assert own.schemes_of(config) == {"a": NF4, "b": NF4, "c": W8A8, "d": KMEANS}


def test_the_order_of_the_groups_does_not_matter() -> None:
    groups = {W8A8: ["c"], NF4: ["a", "b"], KMEANS: ["d"]}
    backwards = {scheme: names[::-1] for scheme, names in reversed(groups.items())}
    assert own.quantization_config(groups, []) == own.quantization_config(backwards, [])


def damaged(**changes: Any) -> dict[str, Any]:
    config = own.quantization_config({NF4: ["a"]}, [])
    config["groups"][0] |= changes
    return config


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"version": 2, "groups": []},
        {"version": "1", "groups": []},
        {"version": 1},
        {"version": 1, "groups": None},
        {"version": 1, "groups": "abc"},
        {"version": 1, "groups": [None]},
        {"version": 1, "groups": [[]]},
        {"version": 1, "groups": [{}]},
        damaged(weights=None),
        damaged(weights={"grid": "nf5"}),
        damaged(weights={"grid": "int", "bits": 7}),
        damaged(weights={"grid": "nf4", "granularity": "group"}),
        damaged(activations={"grid": "int", "bits": 8, "granularity": "channel"}),
        damaged(activations=[]),
        damaged(modules=None),
        damaged(modules="abc"),
        damaged(modules=[1]),
        damaged(modules=["a", "a", "b"]) | {"groups": [damaged()["groups"][0]] * 2},
    ],
    ids=lambda config: str(config)[:60],
)
def test_descriptions_that_make_no_sense(config: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="quantization_config"):
        own.schemes_of(config)


@pytest.mark.parametrize(
    "config", [{"experts": 1}, {"experts": {}}, {"transposed": "a.b"}, {"transposed": [1]}]
)
def test_lists_that_are_none(config: dict[str, Any]) -> None:
    read = own.transposed if "transposed" in config else own.stacked_experts
    with pytest.raises(FormatError, match=r"quantization_config: \w+ must be a list"):
        read(config)
