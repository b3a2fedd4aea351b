"""Which files are made, and which engines are asked to read them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """``name``: of the scheme; ``format``: as in ``--format``; ``options``: of ``quantize``.

    ``engines``: rows of :data:`ENGINES`.
    """

    name: str
    format: str
    recipe: str
    options: dict[str, Any]
    engines: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where it is written, below the output."""
        return f"{self.format}-{self.name}".replace(" ", "-") + (
            ".gguf" if self.format == "gguf" else ""
        )


@dataclass(frozen=True)
class Engine:
    """One way of reading a file. ``script``: in ``engines``; ``more``: its other arguments."""

    name: str
    environment: str
    script: str
    more: tuple[str, ...] = ()


ENGINES = {
    one.name: one
    for one in (
        Engine("vLLM, bfloat16", "vllm", "vllm_answers.py", ("bfloat16",)),
        Engine("vLLM, float32", "vllm", "vllm_answers.py", ("float32",)),
        Engine("transformers", "transformers", "transformers_answers.py", ("float32",)),
        Engine("transformers, bfloat16", "transformers", "transformers_answers.py", ("bfloat16",)),
        Engine("llama.cpp", "llama", "llamacpp_answers.py"),
        Engine("mlx-lm", "mlx", "mlx_answers.py"),
        Engine(
            "AutoRound's loader",
            "auto-round",
            "transformers_answers.py",
            ("float32", "auto-round"),
        ),
        Engine("GPTQModel's loader", "gptqmodel", "transformers_answers.py", ("bfloat16",)),
    )
}

_VLLM = ("vLLM, bfloat16", "vLLM, float32")
_PLAIN = (*_VLLM, "transformers")
_LOADERS = (*_VLLM, "AutoRound's loader", "GPTQModel's loader")


def _case(name: str, format_: str, engines: tuple[str, ...], recipe: str, **options: Any) -> Case:
    return Case(name, format_, recipe, options, engines)


_CT = "compressed-tensors"
CASES = (
    _case("W4 g64", _CT, _PLAIN, "w4"),
    _case("W4 g64 asymmetric", _CT, _PLAIN, "w4-asym", group_size=64),
    _case("W8 per channel", _CT, _PLAIN, "vanilla-int8"),
    _case("W8A8", _CT, _PLAIN, "w8a8"),
    _case("FP8", _CT, _PLAIN, "fp8"),
    _case("MXFP4", _CT, _PLAIN, "mxfp4"),
    _case("NVFP4", _CT, _PLAIN, "nvfp4"),
    _case("W3 g64", _CT, _PLAIN, "w3"),
    _case("W4 g64", "gptq", _LOADERS, "w4"),
    _case("W8 g64", "gptq", _LOADERS, "w4", bits=8),
    _case("W4 g64 asymmetric", "gptq-v2", _LOADERS, "w4-asym", group_size=64),
    _case("W4 g64 asymmetric", "awq", _LOADERS, "w4-asym", group_size=64),
    _case("Q4_0", "gguf", ("llama.cpp",), "w4", group_size=32),
    _case("Q8_0", "gguf", ("llama.cpp",), "w4", bits=8, group_size=32),
    _case("Q4_K_M", "gguf", ("llama.cpp",), "gguf-q4_k_m"),
    _case("Q3_K_M", "gguf", ("llama.cpp",), "gguf-q3_k_m"),
    _case("Q2_K", "gguf", ("llama.cpp",), "gguf-q2_k"),
    _case("W4 g64 affine", "mlx", ("mlx-lm",), "w4-asym", group_size=64),
)
ORIGINAL = Case(
    "original", "", "", {}, (*_VLLM, "transformers", "transformers, bfloat16", "mlx-lm")
)
"""It has no codes: what engines lose of it is their own arithmetic's."""
