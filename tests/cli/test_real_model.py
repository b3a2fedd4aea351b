"""The whole way on the real small model: restore, quantize, evaluate, compare, generate."""

import csv
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from tersor.cli.main import run
from tersor.demo import demo_model
from tersor.recipes import dump, load_recipe
from tersor.rounding import Gptq

WIKITEXT = Path(__file__).parents[3] / "shared/data/wikitext-2/wiki.test.raw"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_int8_is_nearly_lossless_and_int4_is_not(
    smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for recipe in ("vanilla-int8", "w4"):
        printed(capsys, "quantize", smollm2, "-o", tmp_path / recipe, "--recipe", recipe)
        flags = ("--context", "256", "--windows", "4", "--json")
        out = printed(capsys, "evaluate", tmp_path / recipe, "--base", smollm2, *flags)
        (found[recipe],) = json.loads(out)["evaluations"]
    int8, int4 = found["vanilla-int8"], found["w4"]
    assert abs(int8["perplexity"] / int8["base_perplexity"] - 1) < 0.02
    assert int8["kl_mean"] < 0.01
    assert 0.1 < int4["kl_mean"] < 2
    assert int8["top1_agreement"] > int4["top1_agreement"]


def test_gptq_on_little_text_loses_less_than_nearest(
    smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nearest = load_recipe("w4")
    # The same ranges: rounding alone makes the difference, and no search takes its time.
    (tmp_path / "gptq.yaml").write_text(dump(replace(nearest, name="gptq", rounding=Gptq())))
    ten_blocks = ("--exclude", r"re:.*layers\.[12]\d\..*")
    kl = {}
    # Prose is nearer to what is scored than code and other languages are.
    prose = resources.files("tersor.calibration") / "corpus" / "calibration" / "prose.txt"
    little = ("--tokens", "1024", "--calibration", str(prose))
    for recipe, flags in (("w4", ()), (tmp_path / "gptq.yaml", little)):
        out = tmp_path / Path(recipe).stem
        printed(capsys, "quantize", smollm2, "-o", out, "--recipe", recipe, *ten_blocks, *flags)
        protocol = ("--context", "256", "--windows", "2", "--json")
        found = json.loads(printed(capsys, "evaluate", out, "--base", smollm2, *protocol))
        kl[out.name] = found["evaluations"][0]["kl_mean"]
    # 0.69 of it with float32 products, 0.74 with bfloat16 products by AMX.
    assert kl["gptq"] < 0.85 * kl["w4"]


def test_compare_from_a_gguf_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--recipes", "vanilla-int8,nf4", "--context", "128", "--windows", "2", "--json")
    found = json.loads(printed(capsys, "compare", demo_model(), "-o", tmp_path / "out", *flags))
    rows = found["rows"]
    assert [row["recipe"] for row in rows] == ["original", "vanilla-int8", "nf4"]
    assert rows[0]["kl_mean"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["kl_mean"] < rows[2]["kl_mean"]
    out = tmp_path / "out"
    with (out / "compare.csv").open() as file:
        assert [row["recipe"] for row in csv.DictReader(file)] == [row["recipe"] for row in rows]
    assert json.loads((out / "compare.json").read_text()) == found
    assert "| vanilla-int8 |" in (out / "compare.md").read_text()
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.csv",
        "compare.html",
        "compare.json",
        "compare.md",
        "nf4",
        "original",
        "study.json",
        "vanilla-int8",
    ]
    card = (out / "nf4" / "README.md").read_text()
    assert "KL divergence, mean" in card
    assert "has not been measured" not in card


def test_generate_continues_the_prompt(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--prompt", "The capital of France is", "--max-new-tokens", "3")
    assert "Paris" in printed(capsys, "generate", smollm2, *flags)


@pytest.mark.skipif(not WIKITEXT.exists(), reason="WikiText-2 is not part of the project")
def test_perplexity_of_the_restored_model(
    smollm2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--text", WIKITEXT, "--context", "2048", "--windows", "2", "--json")
    (found,) = json.loads(printed(capsys, "evaluate", smollm2, *flags))["evaluations"]
    # All 20 windows give 20.97; the first two are enough to notice a wrong restore.
    assert found["perplexity"] == pytest.approx(19.018, abs=0.05)
