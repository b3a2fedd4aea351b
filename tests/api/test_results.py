"""Results as JSON: what ``to_dict`` says, and that ``--json`` prints nothing else."""

import json
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import tersor
from tersor.cli.main import run
from tiny_models import save_text, save_tiny, save_tokenizer

SCORED: dict[str, Any] = {"context": 32, "windows": 2}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    save_tiny("llama", root / "model")
    save_tokenizer(root / "model")
    save_text(root / "text.txt", 400)
    return root


@pytest.fixture(scope="module")
def results(places: Path) -> dict[str, Any]:
    model, out, text = places / "model", places / "w4", places / "text.txt"
    quantized = tersor.quantize(model, out, "w4", group_size=16)
    evaluated = tersor.evaluate(out, base=model, text=text, **SCORED)
    compared = tersor.compare(model, "vanilla-int8", places / "all", text=text, **SCORED)
    return {
        "plan": tersor.plan(model, "w4", group_size=16),
        "quantize": quantized,
        "evaluate": evaluated,
        "compare": compared,
        "bench": tersor.bench(out, prompt_tokens=8, new_tokens=2, repetitions=1),
        "cache": tersor.cache_contents(),
        "explain": tersor.explain("-1,2"),
        "weight": tersor.explain_weight(model, "layers.0.mlp.up_proj", effect=False),
        "inspect": tersor.inspect(model, activations=False),
        "codes": tersor.inspect(out),
        "pair": tersor.inspect(out, out),
    }


LOOKED_AT = ["explain", "weight", "inspect", "codes", "pair"]
NAMES = ["plan", "quantize", "evaluate", "compare", "bench", "cache"]


@pytest.mark.parametrize("name", [*NAMES, *LOOKED_AT])
def test_every_result_is_a_frozen_value_of_plain_json(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    document = result.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["version"] == tersor.__version__
    assert is_dataclass(result)
    with pytest.raises(FrozenInstanceError):
        setattr(result, fields(result)[0].name, None)


def test_the_model_and_the_recipe_are_named(places: Path, results: dict[str, Any]) -> None:
    said = {name: results[name].to_dict() for name in NAMES}
    model, artifact = str(places / "model"), str(places / "w4")
    assert {name: said[name]["model"] for name in ("plan", "quantize", "compare")} == {
        "plan": model,
        "quantize": model,
        "compare": model,
    }
    assert said["quantize"]["directory"] == said["evaluate"]["model"] == artifact
    assert said["bench"]["model"] == artifact
    assert said["evaluate"]["base"] == model
    for name in ("plan", "quantize", "evaluate", "bench"):
        assert said[name]["recipe"] == "w4"
    assert list(said["compare"]["recipes"]) == ["vanilla-int8"]


def test_names_of_fields_are_those_of_the_document(results: dict[str, Any]) -> None:
    row = results["compare"].rows[1]
    named = {field.name: getattr(row, field.name) for field in fields(row)}
    del named["tasks"]  # each is a field of its own, and none was asked for
    assert row.to_dict() == named
    one = results["evaluate"].evaluations[0]
    assert {field.name for field in fields(one)} == set(one.to_dict())
    shared = {"perplexity", "kl_mean", "kl_median", "kl_p99", "top1_agreement"}
    assert shared <= set(row.to_dict()) & set(one.to_dict())
    assert row.kl_mean is not None
    plan, bench = results["plan"], results["bench"]
    for name in ("bytes", "source_bytes", "bytes_at_most", "format"):
        assert plan.to_dict()[name] == getattr(plan, name)
    for name in ("prompt_tokens", "threads", "cache", "context", "instructions", "batch"):
        assert bench.to_dict()[name] == getattr(bench, name)


def test_the_tables_of_a_comparison(places: Path, results: dict[str, Any]) -> None:
    written = json.loads((places / "all" / "compare.json").read_text())
    assert written == results["compare"].to_dict()
    header = (places / "all" / "compare.csv").read_text().splitlines()[0].split(",")
    assert header == list(results["compare"].rows[0].to_dict())
    table = (places / "all" / "compare.md").read_text().splitlines()[0]
    assert "| bits | MB | text | perplexity | KL | KL median | KL p99 | same top |" in table


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_commands_print_what_functions_return(
    places: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model, out, text = places / "model", places / "w4", places / "text.txt"
    groups = ("--group-size", 16, "--json")
    wanted = {name: results[name].to_dict() for name in NAMES}
    planned = printed(capsys, "quantize", model, "-o", places / "new", *groups, "--dry-run")
    assert planned == wanted["plan"]
    made = printed(capsys, "quantize", model, "-o", out, "--force", *groups)
    assert made | {"seconds": 0} == wanted["quantize"] | {"seconds": 0}
    scored = ("--text", text, "--context", 32, "--windows", 2, "--json")
    assert printed(capsys, "evaluate", out, "--base", model, *scored) == wanted["evaluate"]
    flags = ("--prompt-tokens", 8, "--new-tokens", 2, "--repetitions", 1, "--json")
    assert printed(capsys, "bench", out, *flags).keys() == wanted["bench"].keys()


def test_a_directory_that_tersor_did_not_make_has_no_recipe(places: Path) -> None:
    text = places / "text.txt"
    assert tersor.evaluate(places / "model", text=text, **SCORED).recipe is None


def test_what_was_measured_is_handed_over_before_tasks(places: Path) -> None:
    seen: list[tersor.EvaluateResult] = []
    found = tersor.evaluate(
        places / "model", text=places / "text.txt", **SCORED, measured=seen.append
    )
    assert seen == [found]
