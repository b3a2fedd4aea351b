"""Calibrated runs that do not go as planned: what is reported, refused, repeated, interrupted."""

import _thread
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tersor
import tiny_models
from calibrating import (
    BUDGET,
    calibration_tokens,
    dense,
    logits,
    original,
    quantize,
    save_model,
    small,
    text_of,
    threads,
)
from tersor.calibration.precision import Precision
from tersor.cli.main import run
from tersor.errors import NonFiniteWeight, OutputError, RecipeError, SourceError, TextError
from tersor.models.probing.tiny.miniature import NoMiniature
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.whole_model import run as calibrated
from tersor.recipes import Calibration, dump, parse
from tersor.report import LayerRecord
from tersor.runtime.load import load
from tersor.transforms import BiasCorrection
from tiny_models import randomized, save_text, save_tiny, save_tokenizer


@pytest.fixture(autouse=True)
def _several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows go through a block together; the last of nine is alone."""
    monkeypatch.setattr(calibrated, "windows_per_piece", lambda window: 2)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_model("llama", tmp_path / "model")
    return tmp_path / "model"


def edit(model: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def records(result: QuantizeResult) -> dict[str, LayerRecord]:
    return {record.module: record for record in result.layers}


def reported_everywhere(result: QuantizeResult, text: str) -> bool:
    """Whether a note is in the result, in tersor.json and on the model card."""
    document = json.loads((result.directory / "tersor.json").read_text())
    card = (result.directory / "README.md").read_text()
    places = [result.notes, document["notes"], card.splitlines()]
    return all(any(text in note for note in place) for place in places)


def nothing_left(model: Path) -> bool:
    return sorted(path.name for path in model.parent.iterdir()) == ["model", "model.txt"]


# Nothing silent


def overflow(tensors: dict[str, Tensor]) -> None:
    """What down_proj of the first block reads becomes infinite, and all that follows."""
    tensors["model.layers.0.mlp.up_proj.weight"][3] = 3e38


@pytest.mark.parametrize(
    ("recipe", "note"),
    [
        ("gptq", "Hessian holds NaN or infinity: rounded to nearest"),
        ("imatrix", "inputs hold NaN or infinity: all columns count alike"),
        ("awq-gptq", "Hessian holds NaN or infinity: rounded to nearest"),
        ("awq", "inputs hold NaN or infinity: all columns count alike"),
    ],
)
def test_activations_that_are_not_finite_are_reported(
    llama: Path, tmp_path: Path, recipe: str, note: str
) -> None:
    edit(llama, overflow)
    exclude = ("*.layers.0.mlp.up_proj",)
    result = quantize(llama, tmp_path / "out", small(recipe, exclude=exclude))
    hit = [f"model.layers.1.self_attn.{p}_proj" for p in "qkvo"]
    hit += [f"model.layers.{block}.mlp.down_proj" for block in (0, 1)]
    hit += [f"model.layers.1.mlp.{p}_proj" for p in ("gate", "up")]
    noted = {module: record.note for module, record in records(result).items() if record.note}
    assert noted == dict.fromkeys(hit, note)
    assert reported_everywhere(result, f"{note}")
    assert reported_everywhere(result, "model.layers.0.mlp.down_proj (and 7 more)")
    if recipe.startswith("awq"):
        assert reported_everywhere(result, "not scaled, because what its readers see")
    load(tmp_path / "out", kernels=False)


def test_smoothquant_leaves_alone_what_is_not_finite_and_says_so(
    llama: Path, tmp_path: Path
) -> None:
    edit(llama, overflow)
    exclude = ("*.layers.0.mlp.up_proj",)
    result = quantize(llama, tmp_path / "out", small("smoothquant", exclude=exclude))
    note = "model.layers.0.mlp.up_proj.weight (and 4 more): not scaled, because"
    assert reported_everywhere(result, note)
    before, after = dense(llama), dense(tmp_path / "out")
    for name, changed in (("0.input_layernorm", True), ("1.input_layernorm", False)):
        weight = f"model.layers.{name}.weight"
        assert torch.equal(before[weight], after[weight]) is not changed


def test_static_ranges_that_would_not_be_finite_are_refused_by_name(
    llama: Path, tmp_path: Path
) -> None:
    edit(llama, overflow)
    recipe = small("w8a8-static", exclude=("*.layers.0.mlp.up_proj",))
    with pytest.raises(
        SourceError, match=r"input of model\.layers\.0\.mlp\.down_proj: .* NaN or infinite"
    ):
        quantize(llama, tmp_path / "out", recipe)
    assert nothing_left(llama)


def test_an_input_that_is_always_zero(llama: Path, tmp_path: Path) -> None:
    edit(llama, lambda tensors: tensors["model.layers.0.input_layernorm.weight"].zero_())
    for recipe, note in (
        ("gptq", "Hessian is zero: rounded to nearest"),
        ("imatrix", "inputs are always zero: all columns count alike"),
    ):
        result = quantize(llama, tmp_path / recipe, small(recipe))
        assert records(result)["model.layers.0.self_attn.q_proj"].note == note
        assert records(result)["model.layers.0.self_attn.q_proj"].output_error is None


@pytest.mark.parametrize("recipe", ["gptq", "awq-gptq"])
def test_one_token_over_and_over_is_a_singular_hessian(
    llama: Path, tmp_path: Path, recipe: str
) -> None:
    text_of(llama).write_text("x" * BUDGET.tokens)
    result = quantize(llama, tmp_path / "out", small(recipe))
    for record in result.layers:
        if record.scheme:
            assert record.output_error is not None
            assert record.output_error < 1e-3
    text = calibration_tokens(llama)[:2]
    expected = logits(original(llama), text)
    assert float(
        (logits(load(tmp_path / "out", kernels=False), text) - expected).norm()
    ) < 0.1 * float(expected.norm())


def silence_experts(tensors: dict[str, Tensor]) -> None:
    """The router of the first block gives every expert the same score: two are always taken."""
    tensors["model.layers.0.block_sparse_moe.gate.weight"].zero_()


@pytest.mark.parametrize("recipe", ["gptq", "awq", "awq-gptq", "imatrix"])
def test_an_expert_that_saw_no_token(tmp_path: Path, recipe: str) -> None:
    model = tmp_path / "model"
    save_model("mixtral", model)
    edit(model, silence_experts)
    result = quantize(model, tmp_path / "out", small(recipe))
    note = "no calibration tokens reached this expert: what the others saw makes up for the rest"
    noted = {m for m, record in records(result).items() if record.note.startswith(note)}
    block = "model.layers.0.block_sparse_moe.experts"
    unseen = sorted({module.split(".")[5] for module in noted})
    assert len(unseen) == 2
    assert noted == {f"{block}.{e}.{w}" for e in unseen for w in ("w1", "w2", "w3")}
    experts = {m: r for m, r in records(result).items() if m.startswith(block)}
    assert {r.tokens for m, r in experts.items() if m in noted} == {None}
    assert {r.tokens for m, r in experts.items() if m not in noted} == {BUDGET.tokens}
    assert reported_everywhere(result, note)
    if recipe.startswith("awq"):
        assert reported_everywhere(
            result, f"{block}.{unseen[0]}.w3.weight (and 1 more): not scaled"
        )


def test_an_expert_that_saw_few_tokens(tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_model("qwen3_moe", model)
    recipe = small("gptq", calibration=replace(BUDGET, tokens=96))
    result = quantize(model, tmp_path / "out", recipe)
    experts = {m: r for m, r in records(result).items() if ".experts." in m}
    assert len(experts) == 2 * 4 * 3
    for module, record in experts.items():
        few = record.tokens is None or record.tokens < record.shape[1]
        assert few == bool(record.note), module
        if record.tokens is not None and few:
            text = f"only {record.tokens} calibration tokens reached this expert"
            assert record.note.startswith(text)
    assert any(record.note for record in experts.values())
    assert sum(r.tokens or 0 for m, r in experts.items() if m.endswith("up_proj")) == 2 * 2 * 96


def test_static_activations_of_an_expert_without_tokens_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_model("mixtral", model)
    edit(model, silence_experts)
    with pytest.raises(RecipeError, match=r"experts\.\d\.w1: .* no token reached it"):
        quantize(model, tmp_path / "out", small("w8a8-static"))
    assert nothing_left(model)


def test_a_text_shorter_than_the_budget(llama: Path, tmp_path: Path) -> None:
    save_text(text_of(llama), 100)
    result = quantize(llama, tmp_path / "out", small("gptq"))
    note = f"the calibration text has 96 tokens in whole windows, {BUDGET.tokens} were asked for"
    assert reported_everywhere(result, note)
    assert records(result)["model.layers.0.mlp.up_proj"].tokens == 96


def test_a_text_shorter_than_a_window_is_refused(llama: Path, tmp_path: Path) -> None:
    save_text(text_of(llama), 31)
    with pytest.raises(TextError, match="31 tokens and one window needs 32"):
        quantize(llama, tmp_path / "out", small("gptq"))
    assert nothing_left(llama)


def test_a_window_longer_than_the_model_reads_is_refused(llama: Path, tmp_path: Path) -> None:
    long = Calibration(tokens=288, window=144, precision=Precision.FLOAT32)
    with pytest.raises(TextError, match=r"144 tokens, .* at most 128; use --window 128"):
        quantize(llama, tmp_path / "out", small("gptq", calibration=long))
    assert nothing_left(llama)


def test_activations_that_went_through_files_are_mentioned(llama: Path, tmp_path: Path) -> None:
    little = replace(BUDGET, memory=1e-6)
    result = quantize(llama, tmp_path / "little", small("gptq", calibration=little))
    assert reported_everywhere(result, "activations beyond 1e-06 GB went through temporary files")
    plenty = quantize(llama, tmp_path / "plenty", small("gptq"))
    assert not plenty.notes
    shard = "model.safetensors"
    first, second = ((tmp_path / out / shard).read_bytes() for out in ("little", "plenty"))
    assert first == second


def stablelm(directory: Path) -> Path:
    from transformers import AutoModelForCausalLM, StableLmConfig

    config = StableLmConfig(**tiny_models._LLAMA)
    randomized(AutoModelForCausalLM.from_config(config)).save_pretrained(directory)
    save_tokenizer(directory)
    save_text(text_of(directory), BUDGET.tokens)
    return directory


def test_without_a_table_pairs_are_found_by_numbers(tmp_path: Path) -> None:
    model = stablelm(tmp_path / "model")
    for recipe in ("awq-gptq", "smoothquant"):
        result = quantize(model, tmp_path / recipe, small(recipe))
        assert reported_everywhere(result, "pairs are not from a table: 4 were found")
        load(tmp_path / recipe, kernels=False)
    result = quantize(model, tmp_path / "rotated", small("rotate-gptq"))
    load(tmp_path / "rotated", kernels=False)
    errors = [r.output_error for r in result.layers]
    assert len([error for error in errors if error is not None]) == 14


def test_where_no_pairs_can_be_found_nothing_is_scaled_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise NoMiniature("there is no such thing")

    monkeypatch.setattr("tersor.models.probing.finding.miniature", none)
    model = stablelm(tmp_path / "model")
    result = quantize(model, tmp_path / "awq", small("awq-gptq"))
    assert reported_everywhere(result, "nothing is scaled: ")
    assert reported_everywhere(result, "no pairs were found by numbers: there is no such thing")
    with pytest.raises(SourceError, match=r"no such thing; choose a recipe without a rotation"):
        quantize(model, tmp_path / "rotated", small("rotate-gptq"))


def test_biases_to_correct_where_there_can_be_none(tmp_path: Path) -> None:
    save_model("mistral", tmp_path / "model")
    chosen = small("w4", correction=BiasCorrection())
    result = quantize(tmp_path / "model", tmp_path / "out", chosen)
    assert reported_everywhere(result, "no bias is corrected: no quantized linear has one")


def test_biases_that_were_added_are_reported(llama: Path, tmp_path: Path) -> None:
    result = quantize(llama, tmp_path / "out", small("w4", correction=BiasCorrection()))
    assert reported_everywhere(result, "attention_bias, mlp_bias in config.json: biases were added")


def test_what_no_stage_shows_is_rounded_to_nearest_and_noted(tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_model("mixtral", model)
    include = ("embed_tokens", "re:.*gate")
    result = quantize(model, tmp_path / "out", small("gptq", include=include))
    note = "its input is not observed: rounded to nearest, all columns count alike"
    noted = {module for module, record in records(result).items() if record.note == note}
    gates = {f"model.layers.{block}.block_sparse_moe.gate" for block in (0, 1)}
    assert noted == {"model.embed_tokens", *gates}
    assert reported_everywhere(result, note)
    plain = quantize(model, tmp_path / "plain", small("smoothquant", include=include))
    assert not any(record.note == note for record in plain.layers)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_line_prints_the_notes_of_the_run(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    edit(llama, overflow)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(dump(small("gptq", exclude=("*.layers.0.mlp.up_proj",))))
    save_text(text_of(llama), 100)
    arguments = ["quantize", llama, "-o", tmp_path / "out", "--recipe", recipe]
    flags = ["--calibration", text_of(llama), *(["--json"] if as_json else [])]
    capsys.readouterr()
    assert run([str(argument) for argument in (*arguments, *flags)]) == 0
    printed = capsys.readouterr().out
    notes = json.loads(printed)["notes"] if as_json else printed.splitlines()
    assert any("the calibration text has 96 tokens" in note for note in notes)
    assert any("(and 7 more): Hessian holds NaN or infinity" in note for note in notes)
    if not as_json:
        assert all(note.startswith("note ") for note in notes if "has 96 tokens" in note)


# Models that cannot be run


def test_a_model_that_transformers_does_not_know_is_named(llama: Path, tmp_path: Path) -> None:
    config = json.loads((llama / "config.json").read_text())
    config["model_type"] = "mystery"
    (llama / "config.json").write_text(json.dumps(config))
    # The tokenizer's class is found by the type of the model, unless it says itself.
    with pytest.raises(SourceError, match=f"{llama}.*'mystery'"):
        quantize(llama, tmp_path / "out", small("gptq"))
    assert nothing_left(llama)


@pytest.mark.parametrize("missing", ["model.layers.1.input_layernorm.weight", "model.norm.weight"])
def test_a_missing_tensor_is_named(llama: Path, tmp_path: Path, missing: str) -> None:
    edit(llama, lambda tensors: tensors.pop(missing))
    with pytest.raises(SourceError, match=f"{llama}: no tensor {missing}"):
        quantize(llama, tmp_path / "out", small("gptq"))
    assert nothing_left(llama)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    with pytest.raises(SourceError, match=f"{tmp_path / 'model'}.*tokenizer"):
        tersor.quantize(tmp_path / "model", tmp_path / "out", small("gptq"))


# The same again


@pytest.mark.parametrize(
    ("family", "recipe", "changes"),
    [
        ("llama", "gptq", {"include": ("lm_head",)}),
        ("llama", "awq", {}),
        ("llama", "smoothquant", {"correction": BiasCorrection()}),
        ("llama", "rotate-gptq", {}),
        ("gpt2", "awq-gptq", {"correction": BiasCorrection()}),
        ("gpt2", "w8a8-static", {}),
        ("qwen3_moe", "awq-gptq", {}),
        ("llama", "gptq", {"calibration": replace(BUDGET, precision=Precision.BFLOAT16)}),
    ],
)
def test_the_same_bytes_on_one_core_and_on_two(
    tmp_path: Path, family: str, recipe: str, changes: dict[str, Any]
) -> None:
    model = tmp_path / "model"
    save_model(family, model)
    for name, cores in (("first", 2), ("again", 2), ("one", 1)):
        with threads(cores):
            quantize(model, tmp_path / name, small(recipe, **changes))
    files = sorted((tmp_path / "first").iterdir())
    assert len(files) >= 5
    for file in files:
        for other in ("again", "one"):
            assert file.read_bytes() == (tmp_path / other / file.name).read_bytes(), file.name


def test_the_saved_recipe_recreates_the_artifact(llama: Path, tmp_path: Path) -> None:
    recipe = small("rotate-gptq", scaling=small("awq").scaling)
    quantize(llama, tmp_path / "first", recipe)
    saved = parse((tmp_path / "first" / "recipe.yaml").read_text(), "saved")
    assert replace(saved, made=None) == recipe
    quantize(llama, tmp_path / "again", saved)
    first, again = (tmp_path / name / "model.safetensors" for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()


# Interrupted


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_an_interrupt_leaves_only_what_is_gone_on_with(
    llama: Path, tmp_path: Path, blocks: int
) -> None:
    """A signal while pieces of a block run, or from the progress bar after the block."""
    before = threading.active_count()
    cores = torch.get_num_threads()

    def interrupt(done: int, total: int) -> None:
        if done == blocks:
            raise KeyboardInterrupt

    if blocks == 0:
        _interrupt_second_stage(llama, tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            quantize(llama, tmp_path / "out", small("awq-gptq"), progress=interrupt)
    assert threading.active_count() == before
    assert torch.get_num_threads() == cores
    assert torch.is_grad_enabled()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".out.partial", "model", "model.txt"]
    with pytest.raises(OutputError, match=r"unfinished run is there \([1-9] of 5 units .*--force"):
        quantize(llama, tmp_path / "out", small("awq-gptq"))
    recipe = small("gptq" if blocks == 0 else "awq-gptq")
    quantize(llama, tmp_path / "out", recipe, resume=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model", "model.txt", "out", "out.layers.csv", "out.log.jsonl"]


def _interrupt_second_stage(model: Path, tmp_path: Path) -> None:
    """As Ctrl-C would, in the middle of a forward."""
    from transformers.models.llama import modeling_llama

    activation = modeling_llama.LlamaMLP.forward
    calls: list[int] = []

    def forward(self: Any, x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 4:
            _thread.interrupt_main()
        found: Tensor = activation(self, x)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_llama.LlamaMLP, "forward", forward)
        with pytest.raises(KeyboardInterrupt):
            quantize(model, tmp_path / "out", small("gptq"))
    assert len(calls) >= 4


def test_a_failure_in_the_middle_leaves_nothing_behind(llama: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    edit(llama, lambda t: t["model.layers.1.self_attn.o_proj.weight"].fill_(float("nan")))
    with pytest.raises(NonFiniteWeight, match=r"layers\.1\.self_attn\.o_proj\.weight.* NaN"):
        quantize(llama, tmp_path / "out", small("gptq"))
    assert threading.active_count() == before
    assert nothing_left(llama)
