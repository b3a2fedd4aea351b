"""Tokens per second of the engine beside llama.cpp, ik_llama.cpp and OpenVINO, taking turns.

    python benchmarks/speed/engine.py -o OUT --tersor w4=DIR [--tersor w4-int8=DIR:int8]
        [--llamacpp q4_0=PYTHON:FILE.gguf] [--ik-llama q4_0=LLAMA_BENCH:FILE.gguf]
        [--openvino int4=PYTHON:DIR] [--openvino-f32 int4=PYTHON:DIR] [--rounds 5]
        [--prompt-tokens 512] [--new-tokens 64] [--threads 2] [--batch 1]

A directory of tersor's may name the cache to use. Each round runs every engine once, in a process
of its own, on a prompt that it has not seen. A peer is named by the interpreter of its environment
(ik_llama.cpp by its `llama-bench`) and its model (scripts in benchmarks/peers). Prints a row for
every round, then medians and how many times as fast the first of tersor's is. Writes
OUT/engine.json and OUT/engine.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from tersor.report import to_markdown

PEERS = Path(__file__).parents[1] / "peers"


def tersor_command(model: str, arguments: argparse.Namespace) -> list[str]:
    numbers = {
        "--prompt-tokens": arguments.prompt_tokens,
        "--new-tokens": arguments.new_tokens,
        "--threads": arguments.threads,
        "--batch": arguments.batch,
        "--repetitions": 1,
    }
    flags = [text for flag, number in numbers.items() for text in (flag, str(number))]
    directory, _, cache = model.partition(":")
    flags += ["--cache", cache or "auto"]
    return [sys.executable, "-m", "tersor", "bench", directory, "--json", *flags]


def peer_command(
    script: str, place: str, seed: int, arguments: argparse.Namespace, *more: str
) -> list[str]:
    program, model = place.split(":", 1)
    numbers = (arguments.prompt_tokens, arguments.new_tokens, seed, arguments.threads)
    return [program, str(PEERS / script), model, *map(str, numbers), *more]


def commands(arguments: argparse.Namespace, seed: int) -> dict[str, list[str]]:
    found = {}
    for name, model in arguments.tersor:
        found[f"tersor {name}"] = tersor_command(model, arguments)
    for name, place in arguments.llamacpp:
        found[f"llama.cpp {name}"] = peer_command("llamacpp_rates.py", place, seed, arguments)
    for name, place in arguments.ik_llama:
        binary, file = place.split(":", 1)
        ours = f"{sys.executable}:{file}"
        command = peer_command("ik_llama_rates.py", ours, seed, arguments, binary)
        found[f"ik_llama.cpp {name}"] = command
    for name, place in arguments.openvino:
        found[f"OpenVINO {name}"] = peer_command("openvino_rates.py", place, seed, arguments)
    for name, place in arguments.openvino_f32:
        command = peer_command("openvino_rates.py", place, seed, arguments, "f32")
        found[f"OpenVINO {name} f32"] = command
    return found


def rates(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    text = done.stdout
    document = json.loads(text[text.index("{") :])
    wanted = ("prefill", "decode", "bandwidth", "peak_bandwidth", "products", "peak_products")
    return {
        name: float(value[0] if isinstance(value, list) else value)
        for name, value in document.items()
        if name in wanted
    }


def summary(rounds: list[dict[str, dict[str, float]]]) -> list[dict[str, object]]:
    first = next(iter(rounds[0]))
    middle = {
        name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}
        for name in rounds[0]
    }
    return [
        {
            "engine": name,
            "prefill": round(found["prefill"], 1),
            "decode": round(found["decode"], 1),
            f"prefill of {first} / this": round(middle[first]["prefill"] / found["prefill"], 2),
            f"decode of {first} / this": round(middle[first]["decode"] / found["decode"], 2),
            "of bandwidth": _share(found, "bandwidth"),
            "of products": _share(found, "products"),
        }
        for name, found in middle.items()
    ]


def _share(found: dict[str, float], what: str) -> float | None:
    return round(found[what] / found[f"peak_{what}"], 2) if what in found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    for flag in ("--tersor", "--llamacpp", "--ik-llama", "--openvino", "--openvino-f32"):
        parser.add_argument(flag, action="append", default=[], type=lambda t: t.split("=", 1))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    rounds = []
    for seed in range(arguments.rounds):
        found = {name: rates(command) for name, command in commands(arguments, seed).items()}
        print(json.dumps(found), flush=True)
        rounds.append(found)
    table = summary(rounds)
    print(to_markdown(table))
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {"settings": {k: str(v) for k, v in vars(arguments).items()}, "rounds": rounds}
    (arguments.out / "engine.json").write_text(json.dumps(document, indent=2) + "\n")
    (arguments.out / "engine.md").write_text(to_markdown(table))


if __name__ == "__main__":
    main()
