"""A comparison as a study: it goes on, it grows, and nothing in it is old."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from tersor.errors import OptionError, OutputError, RecipeError
from tersor.evaluation import Evaluation, hidden_states, relative_errors
from tersor.pipeline.studies import measuring, quantizing, timing
from tersor.pipeline.studies.comparison import CompareResult
from tersor.pipeline.studies.keeping import FILE, Kept, key_of
from tersor.pipeline.studies.rows import CompareRow, with_best
from tersor.pipeline.studies.timing import Rates
from tiny_models import save_text, save_tiny, save_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    save_text(tmp_path / "text.txt", 400)
    return tmp_path / "model"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is really quantized and scored."""
    log: list[str] = []
    quantize, evaluate = quantizing.quantize_to, measuring.evaluate_text

    def quantized(source: Any, plan: Any, out: Path, **more: Any) -> Any:
        log.append(f"quantize {out.name}")
        return quantize(source, plan, out, **more)

    def evaluated(*given: Any, **more: Any) -> Any:
        log.append("evaluate")
        return evaluate(*given, **more)

    monkeypatch.setattr(quantizing, "quantize_to", quantized)
    monkeypatch.setattr(measuring, "evaluate_text", evaluated)
    return log


def study(model: Path, recipes: Any, **more: Any) -> CompareResult:
    out = more.pop("out", model.parent / "out")
    given = {"text": model.parent / "text.txt", "context": 64, "windows": 2}
    return tersor.compare(model, recipes, out, **(given | more))


def test_a_second_time_nothing_is_done(model: Path, done: list[str]) -> None:
    first = study(model, ["nf4", "vanilla-int8"])
    assert done == ["evaluate", "quantize nf4", "evaluate", "quantize vanilla-int8", "evaluate"]
    done.clear()
    second = study(model, ["nf4", "vanilla-int8"])
    assert done == []
    assert second.rows == first.rows
    assert second.to_dict() == first.to_dict()


def test_it_grows_by_what_is_new(model: Path, done: list[str]) -> None:
    before = study(model, ["nf4"])
    done.clear()
    after = study(model, ["log2", "nf4"])
    assert done == ["quantize log2", "evaluate"]
    assert [row.recipe for row in after.rows] == ["original", "log2", "nf4"]
    assert after.rows[-1].kl_mean == before.rows[-1].kl_mean
    done.clear()
    study(model, ["nf4"], windows=3)  # another text is another question
    assert done == ["evaluate", "evaluate"]


def test_after_an_interruption_it_goes_on(
    model: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = measuring.evaluate_text
    left = iter([False, False, True])

    def stopped(*given: Any, **more: Any) -> Any:
        if next(left):
            raise KeyboardInterrupt
        return evaluate(*given, **more)

    monkeypatch.setattr(measuring, "evaluate_text", stopped)
    with (
        pytest.warns(UserWarning, match="the same command goes on from here"),
        pytest.raises(KeyboardInterrupt),
    ):
        study(model, ["nf4", "vanilla-int8"])
    monkeypatch.setattr(measuring, "evaluate_text", evaluate)
    done.clear()
    found = study(model, ["nf4", "vanilla-int8"])
    # The original's predictions are needed again, its loss is not.
    assert done == ["evaluate"]
    assert [row.recipe for row in found.rows] == ["original", "nf4", "vanilla-int8"]
    anew = study(model, ["nf4", "vanilla-int8"], out=model.parent / "anew")
    assert [row.kl_mean for row in found.rows] == [row.kl_mean for row in anew.rows]


def changed_model(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] += 0.25
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def changed_artifact(model: Path) -> None:
    file = model.parent / "out" / "nf4" / "model.safetensors"
    file.write_bytes(file.read_bytes())


def lost_record(model: Path) -> None:
    (model.parent / "out" / FILE).unlink()


def changed_tokenizer(model: Path) -> None:
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 77}))


@pytest.mark.parametrize(
    "change", [changed_model, changed_tokenizer, changed_artifact, lost_record]
)
def test_what_may_be_old_is_not_used(model: Path, done: list[str], change: Any) -> None:
    study(model, ["nf4"])
    change(model)
    done.clear()
    with pytest.raises(OutputError, match="out/nf4: exists already"):
        study(model, ["nf4"])
    assert done == []
    study(model, ["nf4"], force=True)
    assert "quantize nf4" in done


def test_other_code_is_another_study(
    model: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study(model, ["nf4"])
    done.clear()
    for module in (quantizing, measuring):
        monkeypatch.setattr(module, "code_digest", lambda: "other")
    with pytest.raises(OutputError, match="out/nf4: exists already"):
        study(model, ["nf4"])
    assert done == []


def test_force_makes_all_anew(model: Path, done: list[str]) -> None:
    first = study(model, ["nf4"])
    done.clear()
    again = study(model, ["nf4"], force=True)
    assert done == ["evaluate", "quantize nf4", "evaluate"]
    assert again.rows[1].kl_mean == first.rows[1].kl_mean


@pytest.mark.parametrize("content", ["", "[]", '{"rules": 0, "values": {}}', '{"rules": 1}'])
def test_a_record_that_makes_no_sense_is_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("warnings.warn", lambda text, **_: said.append(text))
        kept = Kept(tmp_path)
    assert key_of("a") not in kept
    assert bool(said) == (content in ("", "[]"))
    kept.add(key_of("a"), [1.5, None])
    assert Kept(tmp_path).get(key_of("a")) == [1.5, None]


def test_recipes_by_widths(model: Path) -> None:
    with pytest.warns(UserWarning, match="nf4 is compared as it is"):
        found = study(model, ["vanilla-int8", "nf4"], bits=[2, 4])
    names = ["original", "vanilla-int8-2bit", "vanilla-int8-4bit", "nf4"]
    assert [row.recipe for row in found.rows] == names
    losses = {row.recipe: row.kl_mean or 0.0 for row in found.rows}
    assert losses["vanilla-int8-2bit"] > losses["vanilla-int8-4bit"]
    with pytest.raises(OptionError, match="bits must be a whole number from 2 to 8, not 9"):
        study(model, ["w4"], bits=9)


@pytest.mark.parametrize("recipe", ["w4", "log2"])
def test_widths_of_which_a_recipe_has_only_some_are_refused(model: Path, recipe: str) -> None:
    with pytest.raises(RecipeError, match="7"):
        study(model, [recipe], bits=[2, 7, 8])
    assert not (model.parent / "out").exists()


def test_the_original_leaves_before_an_artifact_is_loaded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("load", "load_source"):
        real = getattr(measuring, name)
        monkeypatch.setattr(
            measuring, name, lambda *a, r=real, n=name, **k: order.append(n) or r(*a, **k)
        )
    study(model, ["vanilla-int8"])
    order.clear()
    study(model, ["vanilla-int8", "nf4"])  # the original's own loss is known already
    assert order == ["load_source", "load"]


def test_speed_where_the_engine_runs_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tersor.api.measuring.Timing", lambda: measuring.Timing(5, 3, 1))
    found = study(model, ["vanilla-int8"], speed=True)
    assert all((row.prefill or 0) > 0 and (row.decode or 0) > 0 for row in found.rows)
    assert found.timed == (5, 3)
    page = (model.parent / "out" / "compare.html").read_text()
    assert "makes most tokens per second" in page


def test_speed_where_it_does_not(tmp_path: Path) -> None:
    save_tiny("gpt2", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    save_text(tmp_path / "text.txt", 400)
    found = study(tmp_path / "model", ["vanilla-int8"], speed=True)
    assert found.rows[1].decode is None
    assert any(line.startswith("vanilla-int8 is not timed:") for line in found.lines())


def test_the_error_travels(model: Path) -> None:
    found = study(model, ["vanilla-int8"], bits=[2, 8])
    two, eight = (one.travel or () for one in found.artifacts)
    assert len(two) == len(eight) == 2
    assert all(0 < small < large for small, large in zip(eight, two, strict=True))
    written = json.loads((model.parent / "out" / "compare.json").read_text())
    assert written["travel"]["vanilla-int8-2bit"] == list(two)


def test_states_are_those_behind_the_blocks(model: Path) -> None:
    loaded = tersor.load(model)
    window = torch.arange(7)
    seen: list[torch.Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: seen.append(out[0]))
        for module in [*loaded.model.layers[:-1], loaded.model.norm]
    ]
    states = hidden_states(loaded, window)
    for hook in hooks:
        hook.remove()
    assert states is not None
    for state, behind in zip(states, seen, strict=True):
        assert torch.equal(state, behind.reshape(7, -1))


def test_relative_errors() -> None:
    before = (torch.tensor([[3.0, 4.0]]), torch.zeros(2, 3))
    after = (torch.tensor([[3.0, 5.0]]), torch.ones(2, 3))
    assert relative_errors(before, after) == (1 / 25, 0.0)


def row(recipe: str, size: int, kl: float | None, text: str = "a") -> CompareRow:
    return CompareRow(recipe, "", 4.0, size, text, 9.0, kl, kl, kl, 0.9, 1.0)


def test_the_best_are_beaten_by_none() -> None:
    rows = [
        row("original", 100, 0.0),
        row("small", 40, 0.5),
        row("worse", 40, 0.6),
        row("large", 80, 0.1),
        row("beaten", 90, 0.2),
        row("twin", 80, 0.1),
        row("elsewhere", 90, 0.9, "b"),
        row("unknown", 10, None),
    ]
    best = [one.recipe for one in with_best(rows) if one.best]
    assert best == ["small", "large", "twin", "elsewhere"]


def pieces() -> Iterator[Evaluation]:
    yield Evaluation(9, 1, 10, 0, 4.5, 1.5, 0.1, texts=("a",), first_tokens=(1, 2), kl_mean=0.25)
    yield Evaluation(9, 1, 10, 0, float("inf"), 1e9, 0.1)


@pytest.mark.parametrize("evaluation", pieces(), ids=["finite", "infinite"])
def test_an_evaluation_there_and_back(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_dict()))
    assert Evaluation.from_dict(document) == evaluation


def test_rates_of_another_processor_are_not_used(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Path] = []

    def rates(directory: Path, *_: Any) -> Any:
        timed.append(directory)
        return Rates(100.0, 10.0)

    monkeypatch.setattr(measuring, "rates_of", rates)
    study(model, ["nf4"], speed=True)
    study(model, ["nf4"], speed=True)
    assert len(timed) == 2  # the original and nf4, once
    monkeypatch.setattr(timing, "processor", lambda: "another")
    study(model, ["nf4"], speed=True)
    assert len(timed) == 4
