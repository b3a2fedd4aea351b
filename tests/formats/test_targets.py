"""Plans for one engine: the format it reads, or why it does not run the result."""

from pathlib import Path

import pytest

import tersor
from tersor.errors import OptionError, SchemeError
from tersor.formats.targets import TARGETS
from tiny_models import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    save_tiny("llama", home / "model")
    return home / "model"


@pytest.mark.parametrize(
    ("target", "format_", "said"),
    [
        ("vllm", "compressed-tensors", "vLLM on CPUs (with AVX-512)"),
        ("sglang", "compressed-tensors", "for sglang: integer kernels on GPUs; SGLang"),
        ("transformers", "compressed-tensors", "no speed; transformers"),
        ("openvino", "gptq", "OpenVINO (through optimum-intel)"),
        ("mlx", "mlx", "mlx-lm"),
        ("llama.cpp", "gguf", "if it was built for them; llama.cpp"),
    ],
)
def test_the_format_that_an_engine_reads(model: Path, target: str, format_: str, said: str) -> None:
    plan = tersor.plan(model, "w4", group_size=32, target=target)
    assert plan.format == format_
    assert any(said in note for note in plan.notes)


@pytest.mark.parametrize(
    ("target", "recipe", "options", "said"),
    [
        ("vllm", "w3", {"group_size": 32}, "it has no kernel for 3 bits; choose w4"),
        ("vllm", "nf4", {}, "no grid nf4; nearest: --recipe w4 --group-size 128"),
        ("sglang", "w4", {"group_size": 16}, "groups of 16; use --group-size 64"),
        ("transformers", "kmeans", {}, "no grid kmeans.*; nearest: --recipe w4"),
        ("openvino", "w4", {"group_size": 32, "bits": 8}, "4 bits alone; use --bits 4"),
        ("openvino", "w4", {"group_size": 32, "asymmetric": True}, "zero points less 1"),
        ("llama.cpp", "w8a8", {}, "nearest: --recipe w4 --group-size 32"),
        ("mlx", "w8a8", {}, "no quantized activations"),
        ("mlx", "w4", {"group_size": 16}, "use --group-size 64"),
    ],
)
def test_what_an_engine_does_not_run(
    model: Path, tmp_path: Path, target: str, recipe: str, options: dict[str, int], said: str
) -> None:
    with pytest.raises(SchemeError, match=f"{target} does not run this: .*{said}"):
        tersor.quantize(model, tmp_path / "out", recipe, target=target, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_one_of_two_ways_runs(model: Path) -> None:
    plan = tersor.plan(model, "w4", bits=8, group_size=32, target="vllm")
    note = next(note for note in plan.notes if note.startswith("for vllm"))
    assert "vLLM on GPUs; not vLLM on CPUs: it has no kernel for W8A16; choose w8a8" in note


def test_options_that_do_not_go_together(model: Path) -> None:
    for options, said in (
        ({"target": "vlm"}, "did you mean 'vllm'"),
        ({"target": "x"}, f"known: {', '.join(TARGETS)}"),
        ({"target": "vllm", "format": "awq"}, "no effect beside"),
        ({"target": "vllm", "target_bits": 4.0}, "no effect beside"),
    ):
        with pytest.raises(OptionError, match=said):
            tersor.plan(model, "w4", **options)
