"""The command on a card, run where the files lie that it names, makes the same artifact again."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import tersor
from calibrating import small
from tersor.cli.main import run
from tersor.recipes import Recipe
from tersor.training import Qat
from tiny_models import save_text, save_tiny, save_tokenizer

SMALL = ["--group-size", "16", "--tokens", "288", "--window", "32"]
GROUPS = ["--group-size", "16"]
ADJUSTED = ["--bits", "3", "--asymmetric", "--include", "lm_head", "--exclude", "re:.*o_.*"]
FEWER = ["--tokens", "200"]
CUSTOM = """
name: my own
weights: {grid: int, bits: 4, symmetry: none, granularity: group, group_size: 16}
rounding: {method: gptq, damping: 0.02}
overrides:
- {match: down_proj, weights: {bits: 8}}
- {match: "re:.*layers\\\\.1\\\\..*gate_proj", skip: true}
calibration: {tokens: 320, window: 40}
"""


@dataclass(frozen=True)
class Place:
    """Where a model and texts lie."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "a model"

    def text(self, name: str) -> Path:
        return self.folder / name

    def quantize(self, *flags: str | Path) -> Path:
        out = self.folder / "out"
        assert run(["quantize", str(self.model), "-o", str(out), *map(str, flags)]) == 0
        return out


@pytest.fixture
def here(tmp_path: Path) -> Place:
    place = Place(tmp_path / "here")
    place.folder.mkdir()
    save_tiny("llama", place.model)
    save_tokenizer(place.model)
    save_text(place.text("some text.txt"), 400)
    save_text(place.text("it's other.txt"), 200, seed=1)
    rows = [{"text": f"{i} plus {i} makes {2 * i}."} for i in range(40)]
    place.text("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    place.text("mine.yaml").write_text(CUSTOM)
    return place


def command(card: Path) -> list[str]:
    """The words of the command on a card, without ``tersor``."""
    _, _, rest = card.read_text().partition("## How to make it again")
    words = shlex.split(rest.partition("```sh\n")[2].partition("\n```")[0])
    assert words[0] == "tersor"
    return words[1:]


def again(artifact: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The artifact that the command on the card makes among copies of what it names."""
    words = command(artifact / "README.md")
    elsewhere.mkdir()
    shutil.copytree(artifact.parent / words[1], elsewhere / words[1])
    shutil.copy(artifact / "recipe.yaml", elsewhere)
    for flag, name in pairwise(words):
        if flag == "--calibration":
            shutil.copy(artifact.parent / name, elsewhere / name)
    monkeypatch.chdir(elsewhere)
    assert run(words) == 0
    return elsewhere / words[words.index("-o") + 1]


def assert_same_files(first: Path, second: Path) -> None:
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(GROUPS, id="nothing is read"),
        pytest.param([*ADJUSTED, *GROUPS], id="adjusted"),
        pytest.param(["--recipe", "gptq", *SMALL], id="built-in mixture"),
        pytest.param(["--recipe", "gptq", *SMALL, "some text.txt"], id="a space in a name"),
        pytest.param(
            ["--recipe", "awq", *SMALL, "it's other.txt", "some text.txt"], id="two in order"
        ),
        pytest.param(["--recipe", "imatrix", *SMALL, "rows.jsonl"], id="JSON lines"),
        pytest.param(
            ["--recipe", "rotate-gptq", *SMALL, "--seed", "7", "rows.jsonl"], id="rotated by a seed"
        ),
        pytest.param(["--recipe", "mine.yaml", "some text.txt"], id="a recipe of one's own"),
        pytest.param(["--recipe", "mine.yaml", *FEWER, "some text.txt"], id="and adjusted"),
    ],
)
def test_the_command_on_a_card_makes_the_same_files(
    here: Place,
    tmp_path: Path,
    flags: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as there:
        there.chdir(here.folder)
        texts = [flag for flag in flags if flag.endswith((".txt", ".jsonl"))]
        others = [flag for flag in flags if flag not in texts]
        given = [word for text in texts for word in ("--calibration", text)]
        out = here.quantize(*others, *given)
    said = [word for word in command(out / "README.md") if word in texts]
    assert said == texts
    capsys.readouterr()
    made = again(out, tmp_path / "elsewhere", monkeypatch)
    assert_same_files(out, made)
    assert "repeats    the result that the recipe tells of, bit for bit" in (
        capsys.readouterr().out
    )


def pickled(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    torch.save(tensors, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def adapted(model: Path) -> None:
    target = "base_model.model.model.layers.0.self_attn.q_proj"
    generator = torch.Generator().manual_seed(3)
    factors = {
        f"{target}.lora_A.weight": torch.randn(2, 64, generator=generator),
        f"{target}.lora_B.weight": torch.randn(64, 2, generator=generator),
    }
    save_file(factors, model / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (model / "adapter_config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("change", "flag"), [(pickled, "--allow-pickle"), (adapted, "--merge-adapter")]
)
def test_what_opening_the_source_takes_is_on_the_card(
    here: Place,
    tmp_path: Path,
    change: Callable[[Path], None],
    flag: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(here.model)
    out = here.quantize(*GROUPS, flag)
    assert command(out / "README.md")[-1] == flag
    assert_same_files(out, again(out, tmp_path / "elsewhere", monkeypatch))


@pytest.mark.parametrize(
    "recipe",
    ["gptq", small("qat", training=Qat(tokens=96, batch=48), name="a name"), Path("mine.yaml")],
    ids=["preset", "value", "file"],
)
def test_what_python_made_is_made_by_the_command(
    here: Place, tmp_path: Path, recipe: str | Recipe | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tersor.quantize(
        here.model,
        here.folder / "out",
        here.text("mine.yaml") if isinstance(recipe, Path) else recipe,
        group_size=32,
        tokens=160,
        window=32,
        exclude=("o_proj",),
        calibration=[here.text("some text.txt")],
    )
    made = again(here.folder / "out", tmp_path / "elsewhere", monkeypatch)
    assert_same_files(here.folder / "out", made)


# What is refused


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert run(["quantize", *map(str, arguments)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_other_texts_are_refused(
    here: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some, other = here.text("some text.txt"), here.text("it's other.txt")
    out = here.quantize("--recipe", "gptq", *SMALL, "--calibration", some)
    arguments = [here.model, "-o", tmp_path / "again", "--recipe", out / "recipe.yaml"]
    digest = json.loads((out / "tersor.json").read_text())["calibration"][0]["texts"][0]["sha256"]
    for texts, said in (
        ([], "give that (--calibration)"),
        ([other], 'not "it\'s other.txt"'),
        ([some, other], "then"),
    ):
        given = [word for text in texts for word in ("--calibration", text)]
        message = refused(capsys, *arguments, *given)
        assert f"made with 'some text.txt' (text, sha256 {digest[:12]}…)" in message
        assert said in message
        assert "take `made` out of the recipe" in message
    assert not (tmp_path / "again").exists()
    changed = tmp_path / "some text.txt"
    changed.write_text(some.read_text() + ".")
    assert "not 'some text.txt'" in refused(capsys, *arguments, "--calibration", changed)


def test_the_order_of_texts_counts(
    here: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["--calibration", here.text("some text.txt"), "--calibration", here.text("rows.jsonl")]
    out = here.quantize("--recipe", "gptq", *SMALL, *texts)
    arguments = [here.model, "-o", tmp_path / "again", "--recipe", out / "recipe.yaml"]
    assert "in that order" in refused(capsys, *arguments, *texts[2:], *texts[:2])


def test_the_mixture_is_a_text_as_any_other(
    here: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = here.quantize("--recipe", "gptq", *SMALL)
    arguments = [here.model, "-o", tmp_path / "again", "--recipe", out / "recipe.yaml"]
    message = refused(capsys, *arguments, "--calibration", here.text("rows.jsonl"))
    assert "made with the mixture that comes with tersor; give no text, or" in message
    document = yaml.safe_load((out / "recipe.yaml").read_text())
    document["made"]["texts"][2]["sha256"] = "0" * 64
    (tmp_path / "older.yaml").write_text(yaml.safe_dump(document))
    arguments[-1] = tmp_path / "older.yaml"
    assert "this tersor comes with another" in refused(capsys, *arguments)


# What is said


def test_texts_are_told_wherever_one_looks(here: Place, capsys: pytest.CaptureFixture[str]) -> None:
    text = here.text("some text.txt")
    capsys.readouterr()
    out = here.quantize("--recipe", "gptq", *SMALL, "--calibration", text, "--json")
    printed = json.loads(capsys.readouterr().out)["calibration"]
    stored = json.loads((out / "tersor.json").read_text())["calibration"]
    assert printed == stored
    (one,) = stored
    assert (one["tokens"], one["window"], one["windows"]) == (288, 32, 9)
    assert one["texts"][0]["name"] == "some text.txt"
    assert (one["texts"][0]["bytes"], one["texts"][0]["tokens"]) == (400, 288)
    digest = one["texts"][0]["sha256"][:12]
    line = f"288 tokens in 9 windows of 32, of some text.txt (sha256 {digest}…)"
    assert f"- calibrated on {line}\n" in (out / "README.md").read_text()
    here.quantize("--recipe", "gptq", *SMALL, "--calibration", text, "--force")
    assert f"calibrated on {line}\n" in capsys.readouterr().out


def test_the_mixture_is_told_too(here: Place, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    out = here.quantize("--recipe", "gptq", *SMALL)
    kinds = "code.txt, dialogues.jsonl, languages.txt, prose.txt"
    said = f"of the mixture that comes with tersor ({kinds})"
    assert said in capsys.readouterr().out
    assert said in (out / "README.md").read_text()
    (one,) = json.loads((out / "tersor.json").read_text())["calibration"]
    assert one["built_in"]
    assert one["texts"][0]["name"] == "built-in code.txt"
