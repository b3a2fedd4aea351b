"""What a checker of types says of programs that use the installed package."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import tersor

RIGHT = """
from collections.abc import Iterator
from pathlib import Path

import torch
import tersor
from tersor import Evaluation, Recipe, TersorError, load_recipe, quantize

recipe: Recipe = load_recipe("W4")
mapping = {"name": "mine", "weights": {"grid": "int", "bits": 4}}
planned: tersor.Plan = tersor.plan("model", mapping, bits=3, include="lm_head")
size: int = planned.bytes
try:
    made: tersor.QuantizeResult = quantize(
        Path("model"), "out", "gptq", bits=4, group_size=64, asymmetric=True, exclude=["o_proj"],
        calibration=["chat.jsonl"], tokens=4096, window=512, seed=1, force=True,
        progress=lambda done, total: print(done / total),
    )
except TersorError as error:
    print(error)
worst: float | None = made.layers[0].sqnr_db
found = tersor.evaluate("out", base="model", text="wiki.txt", engine=True, activation_bits=16)
one: Evaluation = found.evaluations[0]
loss: float | None = one.kl_mean
table = tersor.compare("model", ["w4", recipe, mapping], "out", windows=8)
best: str = min(table.rows, key=lambda row: row.perplexity).recipe
text: str = tersor.generate("out", "hello", max_new_tokens=8, temperature=0.7, top_p=0.9, seed=1)
answer: str = tersor.generate("out", [{"role": "user", "content": "hello"}], stop=["\\n"])
pieces: Iterator[str] = tersor.stream("out", "hello", stop="\\n")
model = tersor.load("out", dtype=torch.bfloat16, device_map="cpu", attn_implementation="eager")
model.generate(torch.tensor([[1]]), max_new_tokens=3)
rates: tuple[float, ...] = tersor.bench("out", new_tokens=16, threads=2).decode
restored: Path = tersor.restore("model.gguf", "model", dtype=torch.float16)
kept: int = tersor.cache_contents().bytes + tersor.clear_cache("out").bytes
for token in tersor.Engine("out").generate("hello", sampling=tersor.Sampling(temperature=1.0)):
    print(token.text, token.finish)
for document in (planned, made, found, one, table, recipe, tersor.cache_contents()):
    print(document.to_dict(), tersor.__version__)
"""

# A line of a program, and what is said of it.
WRONG = {
    'tersor.quantize("m", "out", group_sise=64)': 'Unexpected keyword argument "group_sise"',
    'tersor.quantize("m", "out", bits="4")': 'has incompatible type "str"; expected "int | None"',
    'tersor.quantize("m", "out", adjustments=1)': 'Unexpected keyword argument "adjustments"',
    'tersor.quantize("m", "out", 4)': 'has incompatible type "int"',
    'tersor.quantize("m")': 'Missing positional argument "out"',
    'tersor.plan("m", dry_run=True)': 'Unexpected keyword argument "dry_run"',
    'tersor.evaluate("m", texts="a.txt")': 'Unexpected keyword argument "texts"',
    'tersor.evaluate("m").kl_mean': '"EvaluateResult" has no attribute "kl_mean"',
    'tersor.compare("m", "w4", "out").rows[0].kl': '"CompareRow" has no attribute "kl"',
    'tersor.generate("m", "hi", max_tokens=3)': 'Unexpected keyword argument "max_tokens"',
    'tersor.generate("m", ["hi"])': 'has incompatible type "str"',
    'tersor.load("m", devise_map="cpu")': 'Unexpected keyword argument "devise_map"',
    'tersor.load("m", trust_remote_code=True)': 'Unexpected keyword argument "trust_remote_code"',
    'tersor.bench("m").speed': '"BenchResult" has no attribute "speed"',
    "tersor.nonsense": 'Module has no attribute "nonsense"',
    "from tersor import Adjustments": 'Module "tersor" has no attribute "Adjustments"',
    "tersor.Sampling(temprature=1.0)": 'Unexpected keyword argument "temprature"',
}

TYPES = {
    'tersor.quantize("m", "out")': "tersor.pipeline.result.QuantizeResult",
    'tersor.plan("m")': "tersor.pipeline.planning.plan.Plan",
    'tersor.restore("m", "out")': "pathlib.Path",
    'tersor.evaluate("m")': "tersor.pipeline.studies.found.EvaluateResult",
    'tersor.compare("m", "w4", "out")': "tersor.pipeline.studies.comparison.CompareResult",
    'tersor.generate("m", "hi")': "str",
    'tersor.stream("m", "hi")': "typing.Iterator[str]",
    'tersor.converse("m")': "tersor.runtime.conversation.chat.Conversation",
    'tersor.load("m")': "tersor.runtime.loaded_model.LoadedModel",
    'tersor.load_recipe("w4")': "tersor.recipes.recipe.Recipe",
    "tersor.list_presets()": "tuple[tersor.recipes.catalogue.Preset, ...]",
    'tersor.bench("m")': "tersor.runtime.measuring.bench.BenchResult",
    "tersor.cache_contents()": "tersor.runtime.packed.contents.CacheContents",
    "tersor.clear_cache()": "tersor.runtime.packed.contents.CacheContents",
    'tersor.Engine("m")': "tersor.runtime.engine.engine.Engine",
    "tersor.__version__": "str",
}

# The rest of site-packages is not there: of torch and transformers a checker reads for a minute.
STUBS = {
    "torch/__init__.pyi": """
from typing import Any
from torch import nn
class dtype: ...
class device: ...
class Tensor: ...
float16: dtype
bfloat16: dtype
float32: dtype
def tensor(data: object) -> Tensor: ...
def __getattr__(name: str) -> Any: ...
""",
    "torch/nn/__init__.pyi": """
from typing import Any
class Module: ...
def __getattr__(name: str) -> Any: ...
""",
    "transformers/__init__.pyi": """
from typing import Any
from torch import nn
class PreTrainedModel(nn.Module): ...
class GenerationMixin:
    def generate(self, *args: Any, **kwargs: Any) -> Any: ...
""",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], list[str]]:
    """What strict mypy says of each line of the programs; tersor lies in site-packages."""
    root = tmp_path_factory.mktemp("typing")
    venv.create(root / "venv", symlinks=True, with_pip=False)
    python = root / "venv/bin/python"
    (site,) = (root / "venv/lib").glob("python*/site-packages")
    (site / "tersor").symlink_to(Path(tersor.__file__).parent, target_is_directory=True)
    for name, stub in STUBS.items():
        (root / "stubs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "stubs" / name).write_text(stub)
    programs = {
        "right.py": RIGHT,
        "wrong.py": "import tersor\n" + "\n".join(WRONG),
        "types.py": "import tersor\n" + "\n".join(f"reveal_type({line})" for line in TYPES),
    }
    for name, program in programs.items():
        (root / f"user_{name}").write_text(program)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--config-file", "", "--cache-dir", root / "cache"),
            *("--python-executable", python, *(f"user_{name}" for name in programs)),
        ],
        cwd=root,
        env=os.environ | {"MYPYPATH": str(root / "stubs"), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    found: dict[tuple[str, int], list[str]] = {}
    for line in done.stdout.splitlines():
        place = re.match(r"user_(\w+)\.py:(\d+): (?:error|note): (.*)", line)
        assert place is not None, line
        found.setdefault((place[1], int(place[2])), []).append(place[3].replace("builtins.", ""))
    return found


def test_a_right_program_passes(said: dict[tuple[str, int], list[str]]) -> None:
    assert {place: lines for place, lines in said.items() if place[0] == "right"} == {}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_said(line: str, said: dict[tuple[str, int], list[str]]) -> None:
    place = ("wrong", 2 + list(WRONG).index(line))
    assert WRONG[line] in said[place][0]


@pytest.mark.parametrize("line", TYPES)
def test_every_result_has_a_type(line: str, said: dict[tuple[str, int], list[str]]) -> None:
    place = ("types", 2 + list(TYPES).index(line))
    assert said[place] == [f'Revealed type is "{TYPES[line]}"']


def test_every_public_name_is_typed() -> None:
    """What a checker sees is what there is: the lists in the package agree."""
    for name in tersor.__all__:
        assert getattr(tersor, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tersor.nonsense  # type: ignore[attr-defined]
