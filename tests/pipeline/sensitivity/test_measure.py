"""Sensitivities of tiny models: exact ones by hand, estimates beside them, runs that go on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tersor
from calibrating import original, restored, save_model, text_of
from tersor.cli.main import run
from tersor.errors import OptionError, OutOfMemory
from tersor.evaluation.measures import agreement, log_probabilities
from tersor.pipeline.sensitivity import measure
from tersor.pipeline.sensitivity.result import Sensitivity, SensitivityResult

LITTLE: dict[str, Any] = {"tokens": 96, "window": 32}


def measured(model: Path, recipe: str = "w4", **options: Any) -> SensitivityResult:
    return tersor.sensitivity(
        model, recipe, **{"schemes": "w4g16", "calibration": text_of(model), **LITTLE, **options}
    )


def windows_of(model: Path) -> torch.Tensor:
    """The windows that are read: each character is a token."""
    text = text_of(model).read_text()[:96]
    return torch.tensor([[ord(c) for c in text[i : i + 32]] for i in (0, 32, 64)])


def divergence(model: Any, base: Any, windows: torch.Tensor) -> float:
    found = []
    with torch.no_grad():
        for window in windows:
            p, q = (log_probabilities(m(window[None]).logits[0, :-1]) for m in (base, model))
            found.append(agreement(p, q, window[1:]).kl)
    return float(torch.cat(found).mean())


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_exact_figures_are_those_of_models_quantized_in_one_place(
    family: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    save_model(family, model)
    found = measured(model, exact=True)
    base = original(model)
    linears = [row for row in found.rows if row.block is not None]
    for row in (linears[1], linears[-1], *(r for r in found.rows if r.block is None)):
        others = [r.part for r in linears if r.part != row.part]
        alone: dict[str, Any] = {"exclude": others}
        if row.block is None:
            alone = {"include": [row.part], "exclude": [r.part for r in linears]}
        out = tmp_path / "out"
        tersor.quantize(model, out, "w4", group_size=16, force=True, **alone)
        expected = divergence(restored(model, out), base, windows_of(model))
        assert row.exact == pytest.approx(expected, rel=2e-3), row.part
        assert expected > 1e-5


def test_estimates_are_near_and_rank_alike(tmp_path: Path) -> None:
    save_model("gemma2", tmp_path / "model")
    found = measured(tmp_path / "model", schemes=["w4g16", "w6g16"], tokens=288, exact=True)
    assert found.spearman[""] > 0.9
    for row in found.rows:
        assert row.estimate is not None
        assert row.exact is not None
        assert 0.2 < row.estimate / row.exact < 5, row.part


@pytest.mark.parametrize("by", ["block", "role"])
def test_parts_of_several_linears(by: str, tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    single = measured(tmp_path / "model")
    together = measured(tmp_path / "model", by=by, exact=True)
    place = (
        (lambda row: row.role)
        if by == "role"
        else (lambda row: (row.block, row.part)[row.block is None])
    )
    for row in together.rows:
        inside = [r for r in single.rows if place(r) == place(row)]
        assert row.linears == len(inside)
        assert row.weights == sum(r.weights for r in inside)
        assert row.bytes == sum(r.bytes for r in inside)
        assert row.estimate == pytest.approx(sum(r.estimate or 0 for r in inside))
        assert row.exact is not None
        assert row.exact >= 0.3 * max(r.kl for r in inside)


def test_a_method_that_looks_at_inputs_is_measured_on_other_windows(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    found = measured(tmp_path / "model", "gptq", exact=True)
    nearest = measured(tmp_path / "model", exact=True)
    assert sum(row.kl for row in found.rows) < sum(row.kl for row in nearest.rows)
    assert found.positions < nearest.positions * 3


def test_a_run_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model("llama", tmp_path / "model")
    calls: list[int] = []
    real = measure.exact_divergence

    def third_fails(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(measure, "exact_divergence", third_fails)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "model", exact=True)
    calls.clear()
    monkeypatch.setattr(measure, "exact_divergence", lambda *a: calls.append(1) or real(*a))
    found = measured(tmp_path / "model", exact=True)
    assert len(calls) == len([row for row in found.rows if row.block is not None]) - 2
    calls.clear()
    again = measured(tmp_path / "model", exact=True)
    assert calls == []
    assert again.rows == found.rows


def test_a_sample_is_the_same_of_every_scheme(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    found = measured(tmp_path / "model", schemes=["w4g16", "w3g16"], exact_sample=4)
    of = [{r.part for r in found.of(s) if r.exact is not None} for s in found.schemes]
    assert of[0] == of[1]
    assert len(of[0]) == 4
    other = measured(tmp_path / "model", exact_sample=4, seed=1)
    assert {r.part for r in other.rows if r.exact is not None} != of[0]


def test_memory_that_no_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model("llama", tmp_path / "model")
    monkeypatch.setattr("tersor.machine.memory.machine_bytes", lambda: 1000)
    with pytest.raises(OutOfMemory, match="use fewer --tokens"):
        measured(tmp_path / "model")


def test_attention_against_ffn() -> None:
    rows = [
        Sensitivity("q", "q", 0, "w4", 1, 100, 50, 0.2, None),
        Sensitivity("o", "o", 0, "w4", 1, 100, 50, 0.4, None),
        Sensitivity("up", "up", 0, "w4", 1, 1000, 500, 1.2, 0.6),
    ]
    found = SensitivityResult(Path("m"), "w4", "linear", "mean", tuple(rows), "", 9, {})
    (one,) = found.contrasts()
    assert one.attention_per_linear == pytest.approx(0.3)
    assert one.ffn_per_linear == pytest.approx(0.6)
    assert "5 times as much per weight, and 0.5 times as much per linear" in one.line()
    assert "is more sensitive than the FFN per weight and less so per linear:" in one.line()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model("llama", tmp_path / "model")
    flags = ["--tokens", "96", "--window", "32", "--schemes", "w4g16,w8g16"]
    assert run(["sensitivity", str(tmp_path / "model"), *flags, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["scheme"] for row in document["rows"]} == {"w4g16", "w8g16"}
    assert run(["sensitivity", str(tmp_path / "model"), *flags]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("w4g16: attention is ")
    assert "the 8 most and the 4 least sensitive of 16" in printed
    for role in ("q", "k", "v", "o", "gate", "up", "down", "head", "embedding"):
        assert f"\n{role} " in printed


def test_a_grid_without_widths_is_refused(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    with pytest.raises(OptionError, match=r"^schemes names 'w3': bits 3 does not apply"):
        measured(tmp_path / "model", "nf4", schemes="w3")
