"""Loss and speed of the very same files, beside llama.cpp and OpenVINO, in one run.

    python benchmarks/loss_beside_speed.py ORIGINAL -o OUT --text wiki.test.raw --tersor w4=DIR
        [--tersor …] [--llamacpp q4_0=PYTHON:FILE.gguf] [--openvino int4=PYTHON:DIR]
        [--openvino-f32 int4=PYTHON:DIR] [--rounds 5] [--windows 8] [--prompt-tokens 512]
        [--new-tokens 64] [--threads 2]

Speed: every round runs every engine once, in a process of its own, as `benchmarks/speed/engine.py`
does; medians. Loss: the second half of windows of 1024 tokens, by the engine that was timed with
the options it was timed with, against ORIGINAL in float32. Bits: of the whole file, per parameter
of ORIGINAL. Writes OUT/loss_beside_speed.{json,md}.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent / "speed"))

import engine as speed

from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.report import to_markdown
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.logits_module import EngineModule
from tersor.runtime.load import load

SKIP = 512
WEIGHTS = ("*.safetensors", "*.gguf", "*.bin")


class Stored(nn.Module):
    """Logits that another process wrote: float32 (windows, scored, vocabulary)."""

    def __init__(self, logits: np.ndarray, tokens: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.rows = {tuple(window.tolist()): row for row, window in enumerate(tokens)}

    def forward(self, input_ids: Tensor, **_: object) -> SimpleNamespace:
        found = torch.from_numpy(self.logits[self.rows[tuple(input_ids[0].tolist())]].copy())
        # The last position predicts what is not scored.
        return SimpleNamespace(logits=torch.cat((found, found[-1:]))[None])


def peer(script: str, place: str, tokens: Tensor, threads: int, *more: str) -> nn.Module:
    python, model = place.split(":", 1)
    with TemporaryDirectory() as folder:
        given, out = Path(folder) / "tokens.npy", Path(folder) / "logits.npy"
        np.save(given, tokens.numpy())
        command = [python, str(speed.PEERS / script), model, str(given), str(SKIP), str(out)]
        subprocess.run([*command, str(threads), *more], check=True)
        return Stored(np.load(out), tokens)


def models(arguments: argparse.Namespace, tokens: Tensor) -> dict[str, tuple[str, object]]:
    """Name as in the rows of speed → (file or directory, what makes the model)."""
    threads = arguments.threads
    found: dict[str, tuple[str, object]] = {}
    for name, place in arguments.tersor:
        found[f"tersor {name}"] = (
            place,
            lambda place=place: EngineModule(Engine(place, context=1024, threads=threads)),
        )
    for kind, script, rows, more in (
        ("llama.cpp {}", "llamacpp_logits.py", arguments.llamacpp, ()),
        ("OpenVINO {}", "openvino_logits.py", arguments.openvino, ()),
        ("OpenVINO {} f32", "openvino_logits.py", arguments.openvino_f32, ("f32",)),
    ):
        for name, place in rows:
            found[kind.format(name)] = (
                place.split(":", 1)[1],
                lambda s=script, p=place, m=more: peer(s, p, tokens, threads, *m),
            )
    return found


def stored_bytes(place: str) -> int:
    path = Path(place)
    files = [path] if path.is_file() else [file for glob in WEIGHTS for file in path.glob(glob)]
    return sum(file.stat().st_size for file in files if "tokenizer" not in file.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    for flag in ("--tersor", "--llamacpp", "--ik-llama", "--openvino", "--openvino-f32"):
        parser.add_argument(flag, action="append", default=[], type=lambda t: t.split("=", 1))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rounds = []
    for seed in range(arguments.rounds):
        commands = speed.commands(arguments, seed)
        rounds.append({name: speed.rates(command) for name, command in commands.items()})
        print(json.dumps(rounds[-1]), flush=True)
    rates = {str(row["engine"]): row for row in speed.summary(rounds)}
    tokens = windows(
        load_tokenizer(arguments.original), read_plain(arguments.text), 1024, arguments.windows
    )
    original = load(arguments.original)
    parameters = sum(parameter.numel() for parameter in original.parameters())
    base = CachedBase(original, tokens, arguments.out, skip=SKIP)
    table: list[dict[str, object]] = []
    for name, (place, make) in models(arguments, tokens).items():
        found = evaluate_model(make(), tokens, base=base, skip=SKIP)
        size = stored_bytes(place)
        table.append(
            {
                "engine and file": name,
                "MB": round(size / 1e6),
                "bits per parameter": round(8 * size / parameters, 2),
                "perplexity": round(found.perplexity, 2),
                "KL": float(f"{found.kl_mean:.4g}"),
                "prefill tokens/s": rates[name]["prefill"],
                "decode tokens/s": rates[name]["decode"],
            }
        )
        print(json.dumps(table[-1]), flush=True)
    print(to_markdown(table))
    document = {
        "settings": {key: str(value) for key, value in vars(arguments).items()},
        "rounds": rounds,
        "rows": table,
    }
    (arguments.out / "loss_beside_speed.json").write_text(json.dumps(document, indent=2) + "\n")
    (arguments.out / "loss_beside_speed.md").write_text(to_markdown(table))


if __name__ == "__main__":
    main()
