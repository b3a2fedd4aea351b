"""Windows as a model wants them, scored as the record says."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tersor
from calibrating import small
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.cli.printing.show import evaluation
from tersor.errors import SourceError
from tersor.pipeline.studies.evaluate import Protocol, scored_texts
from tersor.runtime.load import load
from tiny_models import save_text, save_tiny, save_tokenizer

FIRST = 1


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Llama of 60 positions whose tokenizer begins every text with token 1."""
    directory = tmp_path / "llama"
    save_tiny("llama", directory, max_position_embeddings=60)
    save_tokenizer(directory)
    file = directory / "tokenizer.json"
    settings = json.loads(file.read_text())
    settings["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "first", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"first": {"id": "first", "ids": [FIRST], "tokens": [chr(FIRST)]}},
    }
    file.write_text(json.dumps(settings))
    save_text(tmp_path / "text.txt", 700)
    return directory


def expected_nll(directory: Path, context: int, skip: int, count: int) -> float:
    """Mean loss of windows made by hand."""
    text = (directory.parent / "text.txt").read_text()
    room = context - 1
    found = []
    for i in range(count):
        ids = [FIRST, *map(ord, text[i * room : (i + 1) * room])]
        with torch.no_grad():
            logits = load(directory, kernels=False)(torch.tensor([ids])).logits[0]
        losses = torch.nn.functional.cross_entropy(
            logits[:-1], torch.tensor(ids[1:]), reduction="none"
        )
        found.append(losses[max(skip, 1) :])
    return float(torch.cat(found).mean())


@pytest.mark.parametrize("skip", [0, 1, 7])
def test_windows_begin_with_the_first_token_and_it_is_context_only(model: Path, skip: int) -> None:
    (found,) = tersor.evaluate(
        model, text=[model.parent / "text.txt"], context=21, windows=3, skip=skip
    ).evaluations
    assert found.first_tokens == (FIRST,)
    assert found.skip == max(skip, 1)
    assert found.tokens == 3 * (20 - found.skip)
    assert found.nll == pytest.approx(expected_nll(model, 21, skip, 3), rel=1e-5)
    assert found.to_dict()["first_tokens"] == [FIRST]


def test_the_engine_scores_the_same_windows(model: Path) -> None:
    given = {"text": [model.parent / "text.txt"], "context": 21, "windows": 2}
    (found,) = tersor.evaluate(
        model, **given, engine=True, activation_bits=16, cache="float32"
    ).evaluations
    assert found.first_tokens == (FIRST,)
    assert found.nll == pytest.approx(expected_nll(model, 21, 0, 2), rel=1e-4)


def test_the_default_context_is_what_the_model_reads(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    (text,) = scored_texts(model, tokenizer, [model.parent / "text.txt"], Protocol())
    assert text.windows.shape == (700 // 59, 60)
    assert bool((text.windows[:, 0] == FIRST).all())


def test_calibration_sees_the_first_token(model: Path) -> None:
    """And a model that reads fewer than 512 tokens is calibrated in what it reads."""
    recipe = small("gptq")
    result = tersor.quantize(
        model,
        model.parent / "out",
        recipe,
        tokens=240,
        window=512,
        calibration=[model.parent / "text.txt"],
    )
    assert any("windows of 60 tokens" in note for note in result.notes)
    assert {record.tokens for record in result.layers if record.tokens} == {240}


def test_rows_are_calibrated_and_scored_and_said(model: Path) -> None:
    text = (model.parent / "text.txt").read_text()
    rows = [{"text": text[i : i + 50]} for i in range(0, 700, 50)] + [{"text": ""}]
    file = model.parent / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = tersor.evaluate(model, text=[file], context=21, windows=40).evaluations
    assert found.windows == 36
    assert found.notes == (
        "rows.jsonl (JSON lines): 14 rows used, the last of them cut, 1 empty ones left out",
    )
    result = tersor.quantize(model, model.parent / "out", small("gptq"), calibration=[file])
    assert "calibrated on rows.jsonl (JSON lines): " in " ".join(result.notes)


def test_the_protocol_is_printed(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"text": [model.parent / "text.txt"], "context": 21, "windows": 2}
    for skip, scored in ((0, "all behind the first 2"), (7, "all behind the first 8")):
        with evaluation(as_json=False) as shown:
            shown(tersor.evaluate(model, **given, skip=skip))
        said = " ".join(capsys.readouterr().out.split())
        assert f"of 21 tokens, each behind the tokenizer's first token 1; scored: {scored}" in said
    with evaluation(as_json=True) as shown:
        shown(tersor.evaluate(model, **given))
    document = json.loads(capsys.readouterr().out)
    (shown,) = document["evaluations"]
    assert document["versions"]["tersor"]
    assert (shown["first_tokens"], shown["skip"], shown["context"]) == ([FIRST], 1, 21)


def test_a_base_given_by_mistake_is_found_before_any_work(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(SourceError, match=r"adapter: an adapter \(LoRA\) without the model"):
        tersor.evaluate(model, base=adapter, text=[tmp_path / "not looked for"])


def test_the_record_says_which_text_and_what_ran(model: Path) -> None:
    text = model.parent / "text.txt"
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    given: dict[str, Any] = {"text": [text], "context": 21, "windows": 2}
    (plain,) = tersor.evaluate(model, **given).evaluations
    assert plain.text_sha256 == (digest,)
    assert plain.run_by == "float32"
    (engine,) = tersor.evaluate(
        model, **given, engine=True, activation_bits=16, cache="float32"
    ).evaluations
    assert engine.windows_sha256 == plain.windows_sha256
    assert engine.run_by.startswith("tersor's engine (")
    assert engine.run_by.endswith(", activations of 16 bits, cache float32)")
    (builtin,) = tersor.evaluate(model, context=21, windows=2).evaluations
    assert builtin.texts == ("built-in text (Shakespeare)",)
    assert builtin.windows_sha256 != plain.windows_sha256
