"""A format that nothing in tersor knows: one file per artifact, its own names, types and packing.

It is all here. Whoever has its value can plan, write, verify and open with it; as an entry point of
an installed package it is found by its name.
"""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source, TensorInfo, unknown_tensor
from tersor.errors import OptionError, OutputError, ReadBackError, SchemeError, TersorError
from tersor.formats import (
    Contents,
    Description,
    Entry,
    Format,
    QuantizedLinear,
    known_formats,
    shape_of_codes,
)
from tersor.formats.containers.huggingface import HUGGING_FACE
from tersor.grids import (
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    Symmetry,
    TensorScheme,
)
from tersor.pipeline.planning import make_plan
from tersor.pipeline.quantize import quantize_to
from tersor.recipes import load_recipe
from tersor.runtime.artifact import open_artifact
from tiny_models import save_tiny, save_tokenizer

TESTS = Path(__file__).parents[1]
SCHEME = Scheme(TensorScheme(IntegerGrid(4, Symmetry.FULL), Granularity.CHANNEL))
RECIPE = replace(load_recipe("w4"), scheme=SCHEME)


class ToySource:
    """An archive of arrays, one entry for each tensor; see ``tersor.checkpoints.source.Source``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as archive:
            head = json.loads(archive.read("head.json"))
        self.config: Mapping[str, Any] = head["config"]
        self.tensors = {
            name: TensorInfo(name, getattr(torch, dtype), tuple(shape))
            for name, (dtype, shape) in head["tensors"].items()
        }

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: self._tensor(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        with zipfile.ZipFile(self.path) as archive:
            inside = [name for name in archive.namelist() if name.startswith("companions/")]
            for name in inside:
                (directory / Path(name).name).write_bytes(archive.read(name))
        return tuple(Path(name).name for name in inside)

    def _tensor(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise unknown_tensor(self.path, name)
        info = self.tensors[name]
        with zipfile.ZipFile(self.path) as archive:
            array = np.load(io.BytesIO(archive.read(f"{name}.npy")))
        return torch.from_numpy(array).view(info.dtype).reshape(info.shape)


class ToyWriter:
    def __init__(self, archive: zipfile.ZipFile, expected: Sequence[TensorInfo]) -> None:
        self.archive, self.expected = archive, {info.name: info for info in expected}
        self.head: dict[str, Any] = {}

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            given = TensorInfo(name, tensor.dtype, tuple(tensor.shape))
            assert self.expected.pop(name) == given
            buffer = io.BytesIO()
            np.save(buffer, tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
            self.archive.writestr(f"{name}.npy", buffer.getvalue())
            self.head[name] = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]

    def revise(self, info: TensorInfo) -> None:
        self.expected[info.name] = info


class ToyFile:
    """See ``tersor.formats.containers.container.Container``."""

    file = "model.toy"

    def claims(self, path: Path) -> bool:
        return self.recognizes(path)

    def problems(self, path: Path) -> list[TersorError]:
        return []

    def recognizes(self, path: Path) -> bool:
        return zipfile.is_zipfile(path)

    def open(self, path: Path) -> Source:
        return ToySource(path)

    @contextmanager
    def writer(
        self,
        directory: Path,
        expected: Sequence[TensorInfo],
        config: Mapping[str, Any],
        source: Source,
    ) -> Iterator[ToyWriter]:
        with zipfile.ZipFile(directory / self.file, "w") as archive:
            writer = ToyWriter(archive, expected)
            yield writer
            assert not writer.expected
            head = {"config": config, "tensors": writer.head}
            archive.writestr("head.json", json.dumps(head))

    def overhead(
        self, expected: Sequence[TensorInfo], config: Mapping[str, Any], source: Source
    ) -> int:
        return 0  # nobody plans by the size of such a file

    def describe(
        self, directory: Path, source: Source, config: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        names = source.copy_companions(directory)
        with zipfile.ZipFile(directory / self.file, "a") as archive:
            for name in names:
                archive.write(directory / name, f"companions/{name}")
            for name, text in texts.items():
                archive.writestr(name, text)


class ToyFormat(Format):
    """Codes of one row after the other ``(in, out)``; scales are called steps, in float32."""

    name = "toy"
    suffixes = ("codes", "steps")
    container = ToyFile()

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        if scheme != SCHEME:
            return f"the toy format has no {scheme}"
        return None

    def scale_type(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32

    def kept(self, info: TensorInfo) -> TensorInfo:
        """Vectors are float32, as in GGUF."""
        return replace(info, dtype=torch.float32) if len(info.shape) == 1 else info

    def layout(
        self, scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
    ) -> dict[str, Entry]:
        steps = Entry(torch.float32, (shape[0],), parameter=True)
        return {"codes": Entry(torch.int8, shape[::-1]), "steps": steps}

    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        weight = linear.weight
        return {"codes": weight.codes.T.contiguous(), "steps": weight.scale.data[:, 0]}

    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        columns, rows = shape_of_codes(tensors, "codes", module)
        return rows, columns

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        scale = StoredScale(tensors["steps"][:, None], ScaleFormat.FLOAT)
        codes = tensors["codes"].T.contiguous()
        return QuantizedLinear(QuantizedTensor(codes, scale, None, scheme.weights), scheme)

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"modules": [one.module for one in contents.matrices]}

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        return Description(dict.fromkeys(description["modules"], SCHEME))


FORMAT = ToyFormat()


class InDirectory(ToyFormat):
    """The same tensors in a directory that transformers lists, and cannot decode by itself."""

    name = "toys"
    container = HUGGING_FACE


FOLDER = InDirectory()


class Careless(ToyFormat):
    """Loses the sign of every code."""

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        return super().decode({**tensors, "codes": tensors["codes"].abs()}, scheme, shape)


def written(
    directory: Path, out: str, format_: Format | None, *, force: bool = False, **model: Any
) -> Path:
    """A tiny model quantized into ``directory``."""
    save_tiny("llama", directory / "model", **model)
    save_tokenizer(directory / "model")
    source = open_source(directory / "model")
    plan = make_plan(source, RECIPE, format_)
    quantize_to(source, plan, directory / out, force=force)
    return directory / out


def test_it_is_written_as_one_file_and_opened_with_the_same_values(tmp_path: Path) -> None:
    toy = written(tmp_path, "out.toy", FORMAT)
    artifact = open_artifact(toy, known_formats().including(FORMAT))
    other = open_artifact(written(tmp_path, "other", None))
    assert artifact.format is FORMAT
    assert other.format.name == "compressed-tensors"
    assert artifact.schemes == other.schemes
    assert artifact.shapes == other.shapes
    ours, theirs = dict(artifact.dense(torch.float32)), dict(other.dense(torch.float32))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_archive_holds_what_the_plan_lists_and_the_texts(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", dtype=torch.bfloat16)
    source = open_source(tmp_path / "model")
    plan = make_plan(source, RECIPE, FORMAT)
    result = quantize_to(source, plan, tmp_path / "out.toy")
    stored = ToySource(tmp_path / "out.toy").tensors
    assert {info.name: info for info in result.plan.outputs()} == stored
    assert stored["model.norm.weight"].dtype is torch.float32
    assert stored["model.embed_tokens.weight"].dtype is source.tensors["model.norm.weight"].dtype
    assert result.plan.format == "toy"
    with zipfile.ZipFile(tmp_path / "out.toy") as archive:
        names = set(archive.namelist())
        assert json.loads(archive.read("tersor.json"))["format"] == "toy"
    assert {"recipe.yaml", "README.md", "head.json"} <= names


def test_a_decoder_that_gives_other_codes_is_noticed_and_nothing_published(tmp_path: Path) -> None:
    with pytest.raises(ReadBackError, match="reads back differently"):
        written(tmp_path, "out.toy", Careless())
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_only_a_file_of_the_format_is_replaced(tmp_path: Path) -> None:
    first = written(tmp_path, "out.toy", FORMAT, seed=1).read_bytes()
    with pytest.raises(OutputError, match=r"exists already; choose .* or pass --force"):
        written(tmp_path, "out.toy", FORMAT)
    assert (tmp_path / "out.toy").read_bytes() == first
    written(tmp_path, "out.toy", FORMAT, force=True)
    assert (tmp_path / "out.toy").read_bytes() != first
    (tmp_path / "letter.toy").write_text("dear")
    with pytest.raises(OutputError, match="not a file of this format, so it is not replaced"):
        written(tmp_path, "letter.toy", FORMAT, force=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="exists and is a directory"):
        written(tmp_path, "folder", FORMAT, force=True)


def test_what_stands_in_its_way_is_said(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    source = open_source(tmp_path)
    message = r"format toy cannot hold .*down_proj: the toy format has no W4A16: .* \(and 13 more\)"
    with pytest.raises(SchemeError, match=message):
        make_plan(source, load_recipe("w4"), FORMAT)


def test_it_is_known_by_its_name_where_it_was_added(tmp_path: Path) -> None:
    formats = known_formats().including(FORMAT)
    assert formats.named("toy") is FORMAT
    with pytest.raises(OptionError, match="'tyo' is not known; did you mean 'toy'"):
        formats.named("tyo")
    with pytest.raises(OptionError, match="'toy' is not known"):
        known_formats().named("toy")


INSTALLED = """
import sys
from pathlib import Path
import torch, tersor
from tersor.formats import known_formats
from tersor.runtime.artifact import open_artifact
*ours, other = map(Path, sys.argv[1:])
assert [open_artifact(path).format.name for path in ours] == ["toy", "toys"]
ids = torch.tensor([[3, 5, 7, 11]])
for path in ours:
    for kernels in (True, False):
        one, two = (tersor.load(each, kernels=kernels)(ids).logits for each in (path, other))
        assert torch.equal(one, two)
    one, two = (torch.as_tensor(tersor.Engine(each).logits([3, 5, 7])) for each in (path, other))
    assert torch.equal(one, two)
    one, two = (tersor.generate(each, "ab", max_new_tokens=4) for each in (path, other))
    assert one == two
    one, two = (tersor.evaluate(each, context=16, windows=2) for each in (path, other))
    assert one.evaluations[0].perplexity == two.evaluations[0].perplexity
"""


def test_what_an_installed_package_adds_is_run_like_any_other(tmp_path: Path) -> None:
    package = tmp_path / "toy-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    points = ["[tersor.formats]", *(f"{n} = test_toy_format:{n}" for n in ("FORMAT", "FOLDER"))]
    (package / "entry_points.txt").write_text("\n".join(points))
    ours = [written(tmp_path, "out.toy", FORMAT), written(tmp_path, "out", FOLDER)]
    other = written(tmp_path, "other", None)
    path = [str(tmp_path), str(Path(__file__).parent), str(TESTS / "helpers"), *sys.path]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{INSTALLED}"]
    run = subprocess.run([*command, *ours, other], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
