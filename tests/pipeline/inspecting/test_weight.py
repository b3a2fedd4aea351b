"""One weight of a model: what is told of it against the model itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tersor
from tersor.errors import OptionError, SourceError, TersorError
from tersor.pipeline.inspecting.effects import TEXT
from tersor.runtime.artifact import open_artifact
from tersor.runtime.load import load
from tiny_models import save_tiny, save_tokenizer

Q_PROJ = "model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    save_tiny("llama", root / "model").to(torch.bfloat16).save_pretrained(root / "model")
    save_tokenizer(root / "model")
    tersor.quantize(root / "model", root / "w4", "w4", group_size=16, asymmetric=True)
    tersor.quantize(root / "model", root / "gptq", "gptq", group_size=16, bits=3, tokens=64,
                    window=32)  # fmt: skip
    return root


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[ord(letter) for letter in TEXT]])
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits[0, -1]
    return found


def test_an_artifact_tells_what_its_source_does(places: Path) -> None:
    """Codes and scales in the files are those that the recipe gives."""
    given: dict[str, Any] = {"row": 7, "column": 40}
    one = tersor.explain_weight(
        places / "model", Q_PROJ, group_size=16, asymmetric=True, effect=False, **given
    )
    other = tersor.explain_weight(
        places / "w4", f"{Q_PROJ}.weight", base=places / "model", effect=False, **given
    )
    assert one.packed == other.packed
    for name in ("stored", "scale", "scale_type", "zero_point", "code", "restored"):
        assert getattr(one.path, name) == getattr(other.path, name), name
    assert one.path.step is not None
    assert other.path.step is not None
    assert one.path.step.error == other.path.step.error
    assert (one.path.group.start, one.path.group.stop) == (32, 48)
    assert (one.recipe, other.recipe) == ("w4", "w4")
    assert one.path.stored is not None
    assert one.path.stored.dtype == "bfloat16"


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "gemma3_text"])
def test_the_effect_is_what_the_model_does(family: str, tmp_path: Path) -> None:
    save_tiny(family, tmp_path)
    save_tokenizer(tmp_path)
    module = {
        "llama": "model.layers.0.mlp.down_proj",
        "gpt2": "transformer.h.1.attn.c_attn",
        "mixtral": "model.layers.1.block_sparse_moe.experts.2.w1",
        "gemma3_text": "model.layers.0.self_attn.v_proj",
    }[family]
    found = tersor.explain_weight(tmp_path, module, bits=2, group_size=0)
    assert found.effect is not None
    model: Any = load(tmp_path)
    before = logits(model)
    top = int(before.argmax())
    logit = found.effect.logit
    assert logit.token == chr(top)
    assert logit.logit == pytest.approx(float(before[top]), rel=1e-5)
    assert found.effect.tokens == len(TEXT)
    tersor.quantize(tmp_path, tmp_path / "out", "w4", bits=2, group_size=0)
    restored = open_artifact(tmp_path / "out").linear(module).weight.dequantize()
    with torch.no_grad():
        if family == "mixtral":
            model.model.layers[1].mlp.experts.gate_up_proj[2, :160] = restored
        else:
            held = model.get_submodule(module).weight
            held.copy_(restored.T if family == "gpt2" else restored)
    moved = float(logits(model)[top] - before[top])
    assert logit.by_matrix == pytest.approx(moved, rel=1e-3, abs=1e-5)
    if family == "mixtral":
        assert found.effect.output is None
        return
    assert found.effect.output is not None
    assert abs(logit.by_weight) < abs(moved) + 1
    output, step = found.effect.output, found.path.step
    assert step is not None
    assert output.change == pytest.approx(-step.error * output.input, rel=1e-6)


def test_what_the_output_reads(places: Path) -> None:
    found = tersor.explain_weight(places / "model", Q_PROJ, row=3, column=5)
    model: Any = load(places / "model")
    seen: list[torch.Tensor] = []
    linear = model.get_submodule(Q_PROJ)
    linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    logits(model)
    x = seen[0][0, -1]
    assert found.effect is not None
    output = found.effect.output
    assert output is not None
    assert output.input == pytest.approx(float(x[5]), rel=1e-5)
    assert output.output == pytest.approx(float(linear.weight[3].detach() @ x), rel=1e-4)


def test_runs_are_counted(places: Path) -> None:
    seen: list[tuple[int, int]] = []
    tersor.explain_weight(
        places / "model", Q_PROJ, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5)]


def test_the_weight_that_loses_most_is_taken(places: Path) -> None:
    found = tersor.explain_weight(places / "model", Q_PROJ, effect=False)
    assert found.chosen == "the one with the largest error in this matrix"
    assert found.path.step is not None
    assert found.path.matrix is not None
    assert abs(found.path.step.error) == pytest.approx(found.path.matrix.largest)
    row = tersor.explain_weight(places / "model", Q_PROJ, row=2, effect=False)
    assert (row.path.row, row.chosen) == (2, "the one with the largest error in row 2")


def test_an_artifact_alone(places: Path) -> None:
    found = tersor.explain_weight(places / "gptq", "layers.0.mlp.up_proj")
    assert (found.path.stored, found.path.step, found.path.matrix, found.effect) == (None,) * 4
    assert "give it as --base" in found.notes[0]
    assert (found.path.row, found.path.column) == (0, 0)
    document = found.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_codes_that_another_method_chose(places: Path) -> None:
    weights = [
        tersor.explain_weight(
            places / "gptq", Q_PROJ, base=places / "model", row=row, column=60, effect=False
        )
        for row in range(64)
    ]
    assert any(one.path.code != one.path.nearest_code for one in weights)


def test_the_embedding_is_rounded_if_somebody_asks(places: Path) -> None:
    found = tersor.explain_weight(places / "model", "embed_tokens", bits=8, group_size=0)
    assert found.module == "model.embed_tokens"
    assert found.effect is not None
    assert found.effect.output is None


def test_a_model_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    found = tersor.explain_weight(tmp_path, Q_PROJ, group_size=16)
    assert found.effect is None
    assert "the model was not run: " in found.notes[0]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"tensor": "model.layers.1.self_atn.q_proj"}, OptionError, f"did you mean '{Q_PROJ}'"),
        ({"tensor": "q_proj"}, OptionError, "is the end of 2 names"),
        ({"tensor": "model.norm.weight"}, OptionError, "it stays as it is"),
        ({"tensor": "lm_heat"}, OptionError, "did you mean 'lm_head'"),
        ({"tensor": ""}, OptionError, "tensor must be the name"),
        ({"row": 64}, OptionError, "row must be a whole number from 0 to 63"),
        ({"column": -1}, OptionError, "column must be"),
        ({"recipe": "gptq", "group_size": 16}, OptionError, "explain the artifact with base"),
        ({"recipe": "awq"}, OptionError, "explain the artifact with base"),
        ({"recipe": "rotate-gptq"}, OptionError, "explain the artifact with base"),
        ({"group_size": 65}, OptionError, "group_size 65 is more than the 64 columns"),
        ({"base": "model"}, OptionError, "base has no effect"),
        ({"source": "w4", "recipe": "w4"}, OptionError, "recipe has no effect"),
        ({"source": "w4", "bits": 3}, OptionError, "bits has no effect"),
        ({"source": "w4", "base": "gptq"}, SourceError, "is quantized; give the original"),
        ({"source": "w4", "tensor": "lm_hea"}, OptionError, "did you mean"),
        ({"source": "nowhere"}, SourceError, "nowhere"),
    ],
)
def test_what_is_refused(
    given: dict[str, Any], kind: type[TersorError], said: str, places: Path
) -> None:
    paths = {name: places / given[name] for name in ("source", "base") if name in given}
    call = {"source": places / "model", "tensor": Q_PROJ, "effect": False, **given, **paths}
    with pytest.raises(kind) as raised:
        tersor.explain_weight(**call)
    assert said in str(raised.value)


def test_a_model_beyond_memory_is_not_loaded(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tersor.machine.memory.machine_bytes", lambda: 1000)
    found = tersor.explain_weight(places / "model", Q_PROJ, group_size=16)
    assert found.effect is None
    assert "--no-effect leaves this out" in found.notes[0]


def test_a_tied_head(tmp_path: Path) -> None:
    save_tiny("gpt2", tmp_path)
    with pytest.raises(OptionError, match=r"is the embedding too; give transformer\.wte"):
        tersor.explain_weight(tmp_path, "lm_head.weight")


def test_another_model_as_base(places: Path, tmp_path: Path) -> None:
    save_tiny("llama", tmp_path, hidden_size=32)
    with pytest.raises(OptionError, match=r"is \(32, 32\)"):
        tersor.explain_weight(places / "w4", Q_PROJ, base=tmp_path)


def test_another_matrix_as_original(places: Path, tmp_path: Path) -> None:
    model: Any = load(places / "model")
    with torch.no_grad():
        model.get_submodule(Q_PROJ).weight.neg_()
    model.save_pretrained(tmp_path)
    found = tersor.explain_weight(places / "w4", Q_PROJ, base=tmp_path)
    assert (found.path.step, found.effect) == (None, None)
    assert f"nothing of {Q_PROJ} in {tmp_path} is in these codes" in found.notes[0]


def test_two_bits_may_leave_little(places: Path) -> None:
    recipe = {
        "name": "two",
        "description": "",
        "weights": {"grid": "int", "bits": 2, "granularity": "tensor"},
    }
    found = tersor.explain_weight(places / "model", Q_PROJ, recipe=recipe)
    assert found.path.matrix is not None
    assert found.path.matrix.sqnr_db < 3
    assert found.effect is not None


def test_weights_that_were_scaled_first_are_not_held_against_others(
    places: Path, tmp_path: Path
) -> None:
    out = tmp_path / "awq"
    flags: dict[str, Any] = {"group_size": 16, "tokens": 64, "window": 32}
    tersor.quantize(places / "model", out, "awq", **flags)
    found = tersor.explain_weight(out, Q_PROJ, base=places / "model")
    assert (found.path.step, found.effect) == (None, None)
    assert "recipe awq scales weights before it rounds them" in found.notes[0]
    (out / "recipe.yaml").unlink()
    found = tersor.explain_weight(out, Q_PROJ, base=places / "model")
    assert (found.path.step, found.effect) == (None, None)
    assert "norm.weight is another one than in" in found.notes[0]
    seen = tersor.inspect(out, base=places / "model")
    assert isinstance(seen, tersor.ArtifactInspection)
    assert all(view.lost is None for view in seen.matrices)
    assert "norm.weight" in seen.notes[0]


@pytest.mark.parametrize("name", ["awq", "gptq"])
def test_formats_that_lay_out_codes_in_another_way(name: str, places: Path, tmp_path: Path) -> None:
    tersor.quantize(places / "model", tmp_path / "w4", "w4", group_size=32)
    tersor.export(tmp_path / "w4", tmp_path / name, format=name)
    place: dict[str, Any] = {"row": 9, "column": 33, "base": places / "model", "effect": False}
    found = tersor.explain_weight(tmp_path / name, Q_PROJ, **place)
    other = tersor.explain_weight(tmp_path / "w4", Q_PROJ, **place)
    assert found.packed is None
    assert f"where format {name} has the bits" in found.notes[-1]
    assert found.path.restored == pytest.approx(other.path.restored, rel=1e-3)
    seen = tersor.inspect(tmp_path / name, tmp_path / "w4", base=places / "model")
    assert isinstance(seen, tersor.PairInspection)
