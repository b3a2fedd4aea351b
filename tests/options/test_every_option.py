"""The table of all options, on the command line and through Python: no row reads a weight."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import tersor
from every_option import (
    FOLDER,
    MODEL,
    NEEDED,
    NOWHERE,
    OPTIONS,
    OUT,
    PAIRS,
    SWITCHES,
    TEXT,
    Option,
    Pair,
)
from local_task import save_task
from tersor.cli.main import run
from tersor.errors import OptionError, TersorError
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.engine.sampling import Sampling
from tersor.runtime.measuring.bench import Timing
from tiny_models import save_text, save_tiny, save_tokenizer


class WeightsRead(BaseException):
    """A command came so far that it wanted a weight: it had nothing against its options."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("options")
    save_tiny("llama", root / "model")
    save_tokenizer(root / "model")
    settings = json.loads((root / "model" / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (root / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
    save_text(root / "text.txt", 2000)
    folder = root / "tasks"
    folder.mkdir()
    question = {"question": "a", "choices": ["b", "c"], "answer": 0}
    save_task(folder, "next_number", [question])
    named = {MODEL: "model", OUT: "out", TEXT: "text.txt", NOWHERE: "nowhere", FOLDER: "tasks"}
    return {name: root / place for name, place in named.items()}


@pytest.fixture(autouse=True)
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to a weight leads to :class:`WeightsRead`."""

    def read(*_: object, **__: object) -> None:
        raise WeightsRead

    monkeypatch.setattr("tersor.checkpoints.huggingface.safetensors_file.StoredTensor._bytes", read)
    monkeypatch.setattr("tersor.checkpoints.gguf.source.GGUFSource.read", read)
    monkeypatch.setattr("tersor.runtime.load.stored_model", read)
    monkeypatch.setattr("tersor.runtime.load.given_model", read)


@pytest.fixture
def local_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares a test the seconds that indexing lm-eval's own tasks takes."""
    from lm_eval import tasks

    class LocalTasks(tasks.TaskManager):  # type: ignore[misc]
        def __init__(self, include_path: str, include_defaults: bool = False) -> None:
            super().__init__(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(tasks, "TaskManager", LocalTasks)


def words(places: dict[str, Path], *given: Any) -> list[str]:
    return [str(places.get(one, one)) for one in given]


def command_line(places: dict[str, Path], command: str, option: Option, value: Any) -> list[str]:
    needed = NEEDED[command]
    if option.spelling.isupper():
        return words(places, *command.split(), value, *needed[1:])
    return words(places, *command.split(), *needed, *option.beside, option.spelling, value)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends in."""
    capsys.readouterr()
    assert run(arguments) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "bug" not in captured.err
    return captured.err


def rows(kind: str) -> list[Any]:
    return [
        pytest.param(command, option, id=f"{command} {option.name}")
        for option in OPTIONS
        for command in option.commands
        if getattr(option, kind)
    ]


@pytest.mark.usefixtures("local_tasks")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("command", "option"), rows("wrong"))
def test_outside_the_bounds(
    command: str, option: Option, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in option.wrong:
        said = refused(command_line(places, command, option, value), capsys)
        path = places.get(value, Path(str(value) or "text"))
        assert option.spelling in said or path.name in said, value


@pytest.mark.usefixtures("local_tasks")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("command", "option"), rows("right"))
def test_at_the_bounds(command: str, option: Option, places: dict[str, Path]) -> None:
    for value in option.right:
        with pytest.raises(WeightsRead):
            run(command_line(places, command, option, value))


@pytest.mark.parametrize(
    "pair", PAIRS, ids=lambda pair: " ".join(map(str, (pair.command, *pair.given)))
)
def test_pairs(pair: Pair, places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = words(places, pair.command, *NEEDED[pair.command], *pair.given)
    assert pair.named in refused(arguments, capsys)


def python_calls(places: dict[str, Path]) -> dict[str, Callable[..., Any]]:
    model, out, text = places[MODEL], places[OUT], places[TEXT]
    scored: dict[str, Any] = {"text": text, "context": 32}
    groups = {"group_size": 16}

    def adjusted(recipe: str) -> Callable[..., Any]:
        return lambda **given: tersor.quantize(model, out, recipe, **{"group_size": 16, **given})

    return {
        "quantize": lambda **given: tersor.quantize(
            **{"source": model, "out": out, **groups, **given}
        ),
        "plan": lambda **given: tersor.plan(**{"source": model, **groups, **given}),
        "texts": lambda **given: tersor.quantize(model, out, "gptq", **groups, **given),
        "adjust": adjusted("w4"),
        "gptq": adjusted("gptq"),
        "optq": adjusted("optq"),
        "evaluate": lambda **given: tersor.evaluate(**{"directory": model, **scored, **given}),
        "run": lambda **given: tersor.evaluate(model, engine=True, **scored, **given),
        "tasks": lambda **given: tersor.evaluate(
            model,
            **scored,
            **{"tasks": "next_number", "task_path": places[FOLDER], **given},
        ),
        "compare": lambda **given: tersor.compare(
            **{"source": model, "recipes": "vanilla-int8", "out": out, **scored, **given}
        ),
        "import": lambda **given: tersor.import_checkpoint(
            **{"source": model, "out": out, **given}
        ),
        "upload": lambda **given: tersor.upload(
            **{"directory": model, "name": "me/small", **given}
        ),
        "export": lambda **given: tersor.export(
            **{"directory": model, "out": out, "format": "awq", **given}
        ),
        "check": lambda **given: tersor.check(**{"directory": model, **given}),
        "inspect": lambda **given: tersor.inspect(**{"source": model, **given}),
        "weight": lambda **given: tersor.explain_weight(
            **{"source": model, "tensor": "model.layers.0.self_attn.q_proj", **given}
        ),
        "explain": lambda **given: tersor.explain(**{"values": "-1,2", **given}),
        "shifted": lambda **given: tersor.explain("-1,2", asymmetric=True, scale=0.5, **given),
        "sensitivity": lambda **given: tersor.sensitivity(
            model, **{"tokens": 64, "window": 32, **given}
        ),
        "engine": lambda **given: tersor.Engine(model, **given),
        "options": EngineOptions,
        "load": lambda **given: tersor.load(model, **given),
        "generate": lambda **given: tersor.generate(model, **{"prompt": "hello", **given}),
        "stream": lambda **given: list(tersor.stream(model, "hello", **given)),
        "draw": lambda **given: tersor.generate(model, "hello", temperature=1.0, **given),
        "sampling": Sampling,
        "warm": lambda **given: Sampling(1.0, **given),
        "timing": Timing,
    }


PYTHON = [
    pytest.param(option, call, id=f"{call} {option.name}")
    for option in OPTIONS
    for call in option.calls
]


def as_python(places: dict[str, Path], value: Any) -> Any:
    if value in ("nan", "inf"):
        return float(value)
    return places.get(value, value) if isinstance(value, str) else value


@pytest.mark.usefixtures("local_tasks")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("option", "call"), PYTHON)
def test_python_outside_the_bounds(option: Option, call: str, places: dict[str, Path]) -> None:
    for given in (*option.wrong, *option.odd):
        value = as_python(places, given)
        with pytest.raises(TersorError) as raised:
            python_calls(places)[call](**{option.name: value})
        said = str(raised.value)
        path = Path(str(value) or "text")
        assert option.name in said or path.name in said, value
        assert "\n" not in said


@pytest.mark.usefixtures("local_tasks")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("option", "call"), PYTHON)
def test_python_at_the_bounds(option: Option, call: str, places: dict[str, Path]) -> None:
    for given in option.right:
        value = as_python(places, given)
        whole = isinstance(value, int) and value < 2**63
        for same in (value, np.int64(value)) if whole else (value,):
            with suppress(WeightsRead):
                python_calls(places)[call](**{option.name: same})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("quantize", "asymmetric"),
        ("plan", "force"),
        ("evaluate", "engine"),
        ("evaluate", "update_card"),
        ("load", "dtype"),
        ("load", "kernels"),
        ("quantize", "force"),
        ("quantize", "allow_pickle"),
        ("quantize", "merge_adapter"),
        ("compare", "force"),
        ("compare", "speed"),
        ("compare", "merge_adapter"),
    ],
)
def test_values_that_only_python_has(call: str, name: str, places: dict[str, Path]) -> None:
    for value in ("yes", 1, {}):
        with pytest.raises(OptionError, match=f"^{name} must be"):
            python_calls(places)[call](**{name: value})


def test_no_option_is_missing() -> None:
    from tersor.cli.app import app

    run(["--help"])
    listed = {(command, option.name) for option in OPTIONS for command in option.commands} | {
        (command, name) for command, names in SWITCHES.items() for name in names
    }
    found = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = {f"{name} {sub}": c for sub, c in getattr(command, "commands", {}).items()}
        for path, one in (inner or {name: command}).items():
            found |= {(path, parameter.name) for parameter in one.params}
    assert found == listed
