"""Import, export, import: the same bytes for every pair of formats that can hold a scheme."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import tersor
from tersor.errors import SchemeError
from tersor.formats import known_formats
from tersor.pipeline.exchange.convert import convert
from tersor.runtime.artifact import open_artifact
from tiny_models import tiny

FORMATS = sorted({one.name for one in known_formats().by_name.values()})
ABOUT_SOURCES = ("tersor.json", "README.md")


@dataclass(frozen=True)
class Case:
    """``refused``: why formats cannot hold it; all others can."""

    recipe: str | dict[str, Any]
    refused: Mapping[str, str] = field(default_factory=dict)
    dtype: torch.dtype = torch.bfloat16


def integers(bits: int, group: int | None, symmetry: str = "full") -> dict[str, Any]:
    size = {"group_size": group} if group else {}
    granularity = "group" if group else "channel"
    weights = {"grid": "int", "bits": bits, "symmetry": symmetry, "granularity": granularity}
    return {"name": "integers", "weights": {**weights, **size}}


AFFINE = {
    "name": "affine",
    "weights": {
        **{"grid": "affine", "bits": 4, "granularity": "group", "group_size": 32},
        "scale": "float16",
    },
}
V1 = {"gptq": "stores zero points less 1; choose gptq-v2"}
NO_FP4 = dict.fromkeys(("gptq", "gptq-v2", "awq", "mlx"), "has no fp4")
WIDE = "float16 does not hold a scale"
WEIGHTS_ALONE = dict.fromkeys(("gptq", "gptq-v2", "awq", "mlx", "gguf"), "no quantized activations")
NO_MINIMA = dict.fromkeys(("gptq", "gptq-v2", "awq", "compressed-tensors"), "no (grid )?affine4")

CASES = {
    "int4 g32": Case(integers(4, 32)),
    "int4 g128 of float16": Case(integers(4, 128), {}, torch.float16),
    "int4 g32 with zeros": Case(integers(4, 32, "none"), {**V1, "gguf": "float16 does not hold"}),
    "int4 channel": Case(
        integers(4, None), {"awq": "for each group", "mlx": "groups of 32, 64 and 128 alone"}
    ),
    "int8 channel of float32": Case(
        integers(8, None),
        {"awq": "no int8", "mlx": "groups", "gptq": WIDE, "gptq-v2": WIDE, "gguf": WIDE},
        torch.float32,
    ),
    "int8 g64 with zeros": Case(
        integers(8, 64, "none"), {**V1, "awq": "no int8", "gguf": "has no int8 asymmetric"}
    ),
    "int3 g64": Case(integers(3, 64), {"awq": "no int3", "gguf": "GGUF has no int3 per group 64"}),
    "int2 channel with zeros": Case(
        integers(2, None, "none"),
        {**V1, "awq": "no int2", "mlx": "groups", "gguf": "has no int2 asymmetric"},
        torch.float16,
    ),
    "int5 g32": Case(
        integers(5, 32), {"awq": "no int5", "gptq": "no int5", "gptq-v2": "no int5"}, torch.float16
    ),
    "int6 g128": Case(
        integers(6, 128),
        {**dict.fromkeys(("awq", "gptq", "gptq-v2"), "no int6"), "gguf": "no int6 per group 128"},
    ),
    "minima": Case(AFFINE, NO_MINIMA),
    "mxfp4": Case("mxfp4", NO_FP4),
    "nvfp4": Case("nvfp4", {**NO_FP4, "gguf": "GGUF has no fp4 per group 16"}),
    "fp8": Case("fp8", WEIGHTS_ALONE),
    "w8a8": Case("w8a8", WEIGHTS_ALONE, torch.float16),
    "nf4": Case("nf4", dict.fromkeys({*FORMATS} - {"tersor"}, "has no (grid )?nf4")),
}


class Exchange:
    """Conversions, each done once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[tuple[str, str | None], Path] = {}

    def converted(self, source: Path, name: str | None = None) -> Path:
        """In the format of a name, or as an import is."""
        key = sha256(repr(sorted(files(source).items())).encode()).hexdigest(), name
        if key not in self.made:
            out = self.folder / f"{len(self.made)}{'.gguf' if name == 'gguf' else ''}"
            convert(source, out, known_formats().named(name) if name else None)
            self.made[key] = out
        return self.made[key]


def files(path: Path) -> dict[str, bytes]:
    found = [path] if path.is_file() else sorted(path.iterdir())
    return {one.name: one.read_bytes() for one in found if one.name not in ABOUT_SOURCES}


def parts(path: Path, module: str) -> dict[str, Tensor]:
    tensors = load_file(path / "model.safetensors")
    return {name: one for name, one in tensors.items() if name.startswith(f"{module}.")}


def assert_same_tensors(found: Path, meant: Path) -> None:
    """GGUF says less of a model, has norms in float32, and its blocks end with 32 columns."""
    one, two = open_artifact(found), open_artifact(meant)
    assert one.schemes.keys() == two.schemes.keys()
    for module, scheme in two.schemes.items():
        if one.schemes[module] == scheme:
            again, before = parts(found, module), parts(meant, module)
            assert again.keys() == before.keys()
            for name, tensor in before.items():
                assert again[name].dtype is tensor.dtype
                assert torch.equal(again[name].view(torch.uint8), tensor.view(torch.uint8))
        else:
            assert (scheme.weights.group_size or 64) > 32
            each = [artifact.linear(module).weight for artifact in (one, two)]
            assert torch.equal(each[0].codes, each[1].codes)
            assert torch.equal(each[0].dequantize(), each[1].dequantize())
    for name in two.plain_names():
        assert torch.equal(*(a.source.read([name])[name].float() for a in (one, two)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small matrices are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_import_export_import(case: Case, tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 1, "hidden_size": 128, "intermediate_size": 256}
    tiny("llama", **sizes, num_attention_heads=8).to(case.dtype).save_pretrained(tmp_path / "model")
    start = tmp_path / "start"
    tersor.quantize(tmp_path / "model", start, case.recipe, format="tersor")
    exchange = Exchange(tmp_path)
    for name, reason in case.refused.items():
        with pytest.raises(SchemeError, match=reason):
            convert(start, tmp_path / "refused", known_formats().named(name))
        assert not (tmp_path / "refused").exists()
    able = [name for name in FORMATS if name not in case.refused]
    imports = {name: exchange.converted(exchange.converted(start, name)) for name in able}
    for first, meant in imports.items():
        for second in able:
            again = exchange.converted(exchange.converted(meant, second))
            if second == "gguf" != first:
                assert_same_tensors(again, meant)
            else:
                assert files(again) == files(meant), f"{first} → {second}"
