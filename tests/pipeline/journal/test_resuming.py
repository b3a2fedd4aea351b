"""What is gone on with, what is refused, and what is said about it."""

import csv
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from calibrating import BUDGET, quantize, save_model, small, text_of
from tersor.errors import NonFiniteWeight, OutOfMemory, OutputBusy, OutputError, SourceError
from tersor.pipeline.journal import identity, snapshot
from tersor.pipeline.journal.identity import refuse_other
from tersor.pipeline.journal.recorder import Recorder
from tersor.recipes import Recipe
from tiny_models import save_text


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("model")
    save_model("llama", home / "model", num_hidden_layers=3)
    return home / "model"


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    (tmp_path / "model").mkdir()
    for file in original.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    text_of(tmp_path / "model").write_bytes(text_of(original).read_bytes())
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def _every_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny blocks end faster than the disk, and would be kept by twos and threes."""
    monkeypatch.setattr(Recorder, "_busy", lambda _: False)


class Interrupted(BaseException):
    """As by Ctrl-C, from the progress bar."""


def begun(model: Path, recipe: Recipe, *, blocks: int = 2, error: Any = Interrupted) -> Path:
    """An unfinished run, with this many blocks behind it."""

    def stop(done: int, total: int) -> None:
        if done == blocks:
            raise error

    out = model.with_name("out")
    with pytest.raises(error if isinstance(error, type) else type(error)):
        quantize(model, out, recipe, progress=stop)
    assert not out.exists()
    return out


def resumed(model: Path, recipe: Recipe, **options: Any) -> Any:
    return quantize(model, model.with_name("out"), recipe, resume=True, **options)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_only_what_is_missing_is_done(model: Path) -> None:
    recipe = small("gptq")
    undisturbed = quantize(model, model.with_name("whole"), recipe)
    begun(model, recipe)
    blocks: list[int] = []
    found = resumed(model, recipe, progress=lambda done, total: blocks.append(done))
    assert blocks == [3]
    assert files(model.with_name("out")) == files(model.with_name("whole"))
    assert found.record() == undisturbed.record()
    assert found.layers == undisturbed.layers


def test_resume_simply_starts_where_nothing_was_begun(model: Path) -> None:
    recipe = small("gptq")
    resumed(model, recipe)
    with pytest.raises(OutputError, match=r"out: exists already and is complete; .* --force"):
        resumed(model, recipe)
    resumed(model, recipe, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_an_unfinished_run_is_not_overwritten_but_by_force(model: Path, force: bool) -> None:
    recipe = small("gptq")
    out = begun(model, recipe)
    if force:
        with pytest.warns(UserWarning, match="left by a killed run; removed"):
            quantize(model, out, replace(recipe, seed=3), force=True)
        return
    with pytest.raises(OutputError, match=r"\(3 of 6 units finished\).*--resume.*--force"):
        quantize(model, out, recipe)
    with pytest.raises(OutputError, match="unfinished run is there"):
        tersor.plan(model, recipe, out=out, calibration=text_of(model))
    resumed(model, recipe)


def test_what_another_run_would_meet_again_is_not_kept(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.2.mlp.up_proj.weight"][1, 1] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NonFiniteWeight, match=r"layers\.2\.mlp\.up_proj"):
        quantize(model, model.with_name("out"), small("gptq"))
    assert sorted(path.name for path in model.parent.iterdir()) == ["model", "model.txt"]


def _other_text(model: Path) -> None:
    save_text(text_of(model), BUDGET.tokens, seed=5)


def _other_weight(model: Path) -> None:
    file = model / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _other_tokenizer(model: Path) -> None:
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))


def _no_generation_config(model: Path) -> None:
    (model / "generation_config.json").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_text, r"calibration: .*sha256 .* then, .*sha256 .* now"),
        (_other_weight, r"source\.model\.safetensors: one content then, another now"),
        (_other_tokenizer, r"source\.tokenizer_config\.json: one content then, another now"),
        (_no_generation_config, r"source\.generation_config\.json: there then, absent now"),
    ],
)
def test_other_files_are_refused_by_name(
    model: Path, change: Callable[[Path], None], said: str
) -> None:
    recipe = small("gptq")
    out = begun(model, recipe)
    before = files(model), text_of(model).read_bytes()
    change(model)
    with pytest.raises(OutputError, match=rf"out: the unfinished run .* another one: {said}"):
        resumed(model, recipe)
    for name, data in before[0].items():
        (model / name).write_bytes(data)
    text_of(model).write_bytes(before[1])
    resumed(model, recipe)
    assert out.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 7, "description": "more"}, r"one: recipe\.seed: 0 then, 7 now; give"),
        ({"seed": 7}, r"recipe\.seed: 0 then, 7 now"),
        ({"exclude": ("*.layers.2.*",)}, r"recipe\.exclude: .* now"),
        ({"name": "mine"}, r"recipe\.name: gptq then, mine now"),
    ],
)
def test_other_settings_are_refused_by_name(model: Path, changes: Any, said: str) -> None:
    recipe = small("gptq")
    begun(model, recipe)
    with pytest.raises(OutputError, match=said):
        resumed(model, replace(recipe, **changes))


def test_a_description_is_named_only_if_nothing_else_differs() -> None:
    before = {"recipe": {"description": "Adjusted: tokens 9.", "tokens": 9}}
    now = {"recipe": {"description": "Adjusted: tokens 8.", "tokens": 8}}
    with pytest.raises(OutputError, match=r"another one: recipe\.tokens: 9 then, 8 now; give it"):
        refuse_other(Path("out"), before, now)
    now["recipe"]["tokens"] = 9
    with pytest.raises(OutputError, match=r"another one: recipe\.description: Adjusted"):
        refuse_other(Path("out"), before, now)


def test_another_version_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small("gptq")
    begun(model, recipe)
    monkeypatch.setattr(identity, "versions", lambda: {"tersor": "9.9"})
    with pytest.raises(OutputError, match=r"version\.tersor: 0\.1\.0 then, 9\.9 now"):
        resumed(model, recipe)
    monkeypatch.undo()
    monkeypatch.setattr(identity, "arithmetic", lambda _: "float32 by hand")
    with pytest.raises(OutputError, match=r"arithmetic: .* then, float32 by hand now"):
        resumed(model, recipe)


def test_large_files_of_a_run_that_reads_no_text_are_known_by_their_date(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_LARGE", 1000)
    recipe = small("w4")
    out = model.with_name("out")
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        quantize(model, out, recipe, progress=stop)
    date = (model / "model.safetensors").stat().st_mtime_ns
    os.utime(model / "model.safetensors", ns=(date, date + 1))
    with pytest.raises(OutputError, match=r"source\.model\.safetensors: one content"):
        resumed(model, recipe)
    os.utime(model / "model.safetensors", ns=(date, date))
    resumed(model, recipe)


def test_what_was_changed_in_the_staged_files_is_refused_by_name(model: Path) -> None:
    recipe = small("gptq")
    out = begun(model, recipe)
    file = out.with_name(".out.partial") / "artifact" / "model.safetensors.growing"
    weight = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    data = bytearray(file.read_bytes())
    data[data.index(weight.numpy().tobytes())] ^= 1
    file.write_bytes(data)
    with pytest.raises(OutputError, match=r"'model\.embed_tokens\.weight' is not what the run"):
        resumed(model, recipe)


@pytest.mark.parametrize("damage", ["a bit", "the end", "all of it"])
def test_activations_that_changed_are_refused(model: Path, damage: str) -> None:
    recipe = small("gptaq")
    out = begun(model, recipe)
    (file,) = out.with_name(".out.partial").glob("activations-*.safetensors")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes({"a bit": data, "the end": data[:-8], "all of it": b""}[damage])
    with pytest.raises(OutputError, match=r"activations-00002\.safetensors: not what the run"):
        resumed(model, recipe)


def test_a_torn_line_is_as_if_it_was_never_written(model: Path) -> None:
    recipe = small("gptq")
    out = begun(model, recipe)
    journal = out.with_name(".out.partial") / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"units": [{"name": "model.layers.2", "rec')
    assert tersor.status(out).done == 3
    resumed(model, recipe)
    assert out.exists()


def test_a_journal_that_is_damaged_is_refused(model: Path) -> None:
    recipe = small("gptq")
    out = begun(model, recipe)
    journal = out.with_name(".out.partial") / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'{"units"', b'{units"', 1))
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 2 is none of a journal"):
        resumed(model, recipe)


def test_a_second_run_on_the_same_output_is_refused(model: Path) -> None:
    recipe, out = small("gptq"), model.with_name("out")
    ended, said = threading.Event(), []

    def second(done: int, total: int) -> None:
        if done == 2 and not ended.is_set():
            ended.set()
            assert tersor.status(out).state == "running"
            for options in ({}, {"resume": True}, {"force": True}):
                with pytest.raises(OutputBusy, match="another run is writing it") as error:
                    quantize(model, out, recipe, **options)
                said.append(error)

    quantize(model, out, recipe, progress=second)
    assert len(said) == 3


def test_a_source_that_disappears_and_comes_back(model: Path) -> None:
    recipe, away = small("gptq"), model.with_name("away")
    quantize(model, model.with_name("whole"), recipe)

    def unplug(done: int, total: int) -> None:
        if done == 2:
            model.rename(away)

    with pytest.raises(SourceError, match=r"model\.safetensors: no such file"):
        quantize(model, model.with_name("out"), recipe, progress=unplug)
    found = tersor.status(model.with_name("out"))
    assert (found.state, found.done, found.why[:13]) == ("ended", 3, "SourceError: ")
    away.rename(model)
    resumed(model, recipe)
    assert files(model.with_name("out")) == files(model.with_name("whole"))


def test_a_source_that_changes_meanwhile(model: Path) -> None:
    def change(done: int, total: int) -> None:
        if done == 2:
            _other_weight(model)

    with pytest.raises(SourceError, match=r"model\.safetensors: changed while the model was quant"):
        quantize(model, model.with_name("out"), small("gptq"), progress=change)
    assert sorted(path.name for path in model.parent.iterdir()) == ["model", "model.txt"]


def test_a_source_that_is_only_touched(model: Path) -> None:
    recipe = small("gptq")
    begun(model, recipe)
    os.utime(model / "model.safetensors", ns=(5, 5))
    resumed(model, recipe, progress=lambda *_: os.utime(model / "config.json", ns=(7, 7)))


@pytest.mark.parametrize("error", [MemoryError, RuntimeError("a bug")])
def test_what_another_run_may_not_meet_is_kept(model: Path, error: Any) -> None:
    recipe = small("gptq")
    quantize(model, model.with_name("whole"), recipe)
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises((kind, OutOfMemory)):
        quantize(model, model.with_name("out"), recipe, progress=failing(error))
    resumed(model, recipe)
    assert files(model.with_name("out")) == files(model.with_name("whole"))


def failing(error: Any) -> Callable[[int, int], None]:
    """A progress bar that fails behind the second block."""

    def fail(done: int, total: int) -> None:
        if done == 2:
            raise error

    return fail


@pytest.mark.parametrize("name", ["out.log.jsonl", "out.layers.csv"])
def test_a_file_in_the_way_of_the_log_is_left_alone(model: Path, name: str) -> None:
    model.with_name(name).write_text("precious")
    with pytest.raises(OutputError, match=rf"{name}: exists and is none of tersor's; move it"):
        quantize(model, model.with_name("out"), small("w4"))
    assert model.with_name(name).read_text() == "precious"


def test_log_and_layers_lie_beside_the_artifact(model: Path) -> None:
    recipe = small("gptq")
    out = begun(model, recipe)
    found = resumed(model, recipe)
    lines = [json.loads(line) for line in out.with_name("out.log.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert [event for event in events if event not in ("unit", "kept")] == [
        *("began", "ended", "resumed", "complete")
    ]
    assert lines[0]["recipe"] == "gptq"
    assert [line["name"] for line in lines if line["event"] == "unit"][-1] == "lm_head.weight"
    text = out.with_name("out.layers.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["module"] for row in rows] == [record.module for record in found.layers]
    assert float(rows[1]["sqnr_db"]) == found.layers[1].sqnr_db
    status = tersor.status(out)
    assert (status.state, status.done, status.planned) == ("finished", 6, 6)
    with pytest.raises(OutputError, match="no run is there"):
        tersor.status(model)


def test_a_clock_that_jumps_changes_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small("gptq")
    quantize(model, model.with_name("whole"), recipe)
    hours = iter(range(10**6, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: next(hours))
    begun(model, recipe)
    found = tersor.status(model.with_name("out"))
    assert 0 <= found.seconds < 600
    assert 0 <= (found.seconds_left or 0) < 600
    resumed(model, recipe)
    assert files(model.with_name("out")) == files(model.with_name("whole"))
    assert 0 <= tersor.status(model.with_name("out")).seconds < 600


def test_budgets_are_not_resumed(model: Path) -> None:
    with pytest.raises(tersor.TersorError, match="resume has no effect beside target_bits"):
        tersor.quantize(model, model.with_name("out"), "w4", target_bits=5, resume=True)


def test_snapshots_keep_every_bit(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 700, 5),
        "b": torch.tensor([float("nan"), -0.0], dtype=torch.bfloat16),
        "c": torch.zeros(0, 4),
        "d": torch.arange(5, dtype=torch.int8).reshape(1, 5).T,
    }
    digest = snapshot.write_snapshot(tmp_path / "new", tensors)
    snapshot.make_durable(tmp_path / "new", tmp_path / "kept")
    found = snapshot.read_snapshot(tmp_path / "kept", digest)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    for name, tensor in tensors.items():
        assert found[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype
        kept, meant = (t.contiguous().reshape(-1).view(torch.uint8) for t in (found[name], tensor))
        assert torch.equal(kept, meant)
