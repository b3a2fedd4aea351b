"""What works for every language model that transformers lists: docs/measured/architectures.md.

    python benchmarks/architectures.py -o OUT [--types llama,gpt_oss] [--jobs 2]

Causal ones, and those that read images and text, of which the text part is used. Each type
becomes a tiny random model (tests/helpers/every_architecture.py) and goes through

- quantize: 4-bit integers, nearest;
- calibrate: the same by GPTQ on a short text;
- load: `tersor.load` of both, by torch and by native linears;
- transformers: `from_pretrained` of the first;
- engine: `tersor.Engine` of the first.

What is loaded must have the logits of a model whose matrices were rounded by hand, by three lines
of torch in this file, to 1e-3 of the logits' scale (the calibrated one: of the codes that GPTQ
chose); what was not quantized must be as it was, bit for bit. A type runs in a process of its own.
Results are kept in OUT/architectures.json, and types that it holds are not run again; the table is
written to OUT/architectures.md.
"""

import argparse
import json
import multiprocessing
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig

import tersor
from calibrating import BUDGET, small
from every_architecture import WINDOW, auto_of, causal_types, multimodal_types, save_every
from tersor.checkpoints.opening import open_source
from tersor.errors import TersorError
from tersor.runtime.artifact import open_artifact
from tersor.runtime.engine.engine import Engine

GROUP = 8
STEPS = ("quantize", "calibrate", "load", "transformers", "engine")
SECONDS = 240
TOKENS = 20


def rounded(weight: Tensor) -> Tensor:
    """`w4` in groups of 8, by hand: (out, in) → the same."""
    groups = weight.float().unflatten(1, (-1, GROUP))
    scale = groups.abs().amax(-1, keepdim=True) / 7.5
    return (groups / scale).round().clamp(-8, 7).mul(scale).nan_to_num().flatten(1)


def by_hand(directory: Path, artifact: Path, out: Path) -> None:
    """The model of a directory with the artifact's quantized matrices rounded by hand."""
    from tersor.models.experts import published_matrices

    opened, source = open_artifact(artifact), open_source(directory)
    tensors = {n: t.clone() for n, t in load_file(directory / "model.safetensors").items()}
    views = published_matrices(source, tensors)
    for module in opened.schemes:
        stored = views[f"{module}.weight"]
        view = stored.T if module in opened.transposed else stored
        ragged = -view.shape[1] % GROUP
        padded = torch.nn.functional.pad(view.float(), (0, ragged))
        view.copy_(rounded(padded)[:, : view.shape[1]])
    copy_model(directory, out, tensors)


def with_codes(directory: Path, artifact: Path, out: Path) -> None:
    """The model of a directory with the artifact's own codes in place of its matrices."""
    from tersor.models.experts import published_matrices

    opened, source = open_artifact(artifact), open_source(directory)
    tensors = {n: t.clone() for n, t in load_file(directory / "model.safetensors").items()}
    views = published_matrices(source, tensors)
    for module in opened.schemes:
        weight = opened.linear(module).weight.dequantize()
        views[f"{module}.weight"].copy_(weight.T if module in opened.transposed else weight)
    copy_model(directory, out, tensors)


def copy_model(directory: Path, out: Path, tensors: dict[str, Tensor]) -> None:
    out.mkdir()
    for file in directory.glob("*.json"):
        (out / file.name).write_bytes(file.read_bytes())
    save_file(
        {n: t.contiguous() for n, t in tensors.items()},
        out / "model.safetensors",
        {"format": "pt"},
    )


def unchanged(directory: Path, artifact: Path) -> None:
    """Refuse an artifact whose other tensors are not those of the source."""
    opened = open_artifact(artifact)
    before = load_file(directory / "model.safetensors")
    for name in opened.plain_names():
        found = opened.source.read([name])[name]
        if name in before and not torch.equal(found, before[name]):
            raise AssertionError(f"{name} was changed")


def logits(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, 127, (2, TOKENS), generator=generator)
    with torch.inference_mode():
        found: Tensor = model(tokens, use_cache=False).logits
    return found.float()


def check(found: Tensor, expected: Tensor, limit: float = 1e-3) -> None:
    apart = float((found - expected).abs().max() / expected.abs().max())
    if not apart <= limit:
        raise AssertionError(f"logits are {apart:.2g} apart")


def plain(directory: Path) -> Any:
    model, said = auto_of(AutoConfig.from_pretrained(directory)).from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    for kind in ("missing_keys", "mismatched_keys"):
        if said[kind]:
            raise AssertionError(f"{kind.replace('_', ' ')}: {sorted(map(str, said[kind]))[0]}")
    return model.eval()


def engine_logits(directory: Path) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, 127, (2, TOKENS), generator=generator)
    engine = Engine(directory, activation_bits=16, cache="float32")
    return torch.stack([torch.from_numpy(engine.logits(row.tolist())) for row in tokens])


def run(model_type: str, work: Path, wanted: tuple[str, ...] = STEPS) -> dict[str, str]:
    """Step → yes, or why not. The model is at ``work/model``, a text beside it."""
    directory, w4, gptq = work / "model", work / "w4", work / "gptq"
    text = work / "model.txt"
    truth: dict[str, Tensor] = {}

    def quantize() -> None:
        tersor.quantize(directory, w4, "w4", group_size=GROUP)
        unchanged(directory, w4)
        by_hand(directory, w4, work / "hand")
        truth["w4"] = logits(plain(work / "hand"))

    def calibrate() -> None:
        budget = BUDGET.__class__(9 * WINDOW, WINDOW, BUDGET.precision)
        recipe = small("gptq", calibration=budget)
        tersor.quantize(directory, gptq, recipe, group_size=GROUP, calibration=[text])
        unchanged(directory, gptq)
        with_codes(directory, gptq, work / "codes")
        truth["gptq"] = logits(plain(work / "codes"))

    def load() -> None:
        for name, artifact in (("w4", w4), ("gptq", gptq)):
            if name in truth:
                check(logits(tersor.load(artifact, kernels=False)), truth[name])
                check(logits(tersor.load(artifact, activation_bits=16)), truth[name])

    def by_transformers() -> None:
        import tersor.hf  # noqa: F401 - own format

        check(logits(plain(w4)), truth["w4"])

    def by_engine() -> None:
        check(engine_logits(w4), truth["w4"])

    found: dict[str, str] = {}
    steps: list[Callable[[], None]] = [quantize, calibrate, load, by_transformers, by_engine]
    for name, step in zip(STEPS, steps, strict=True):
        if name not in wanted:
            continue
        if name in ("load", "transformers", "engine") and "w4" not in truth:
            found[name] = "not quantized"
            continue
        found[name] = outcome(step)
    return found


def outcome(step: Callable[[], None]) -> str:
    try:
        step()
    except TersorError as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())[:300]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return f"! {type(error).__name__}: {said} ({where})"
    return "yes"


def child(model_type: str, answer: Connection) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    signal.alarm(SECONDS)
    with TemporaryDirectory() as directory:
        work = Path(directory)
        try:
            model = save_every(model_type, work / "model")
            logits(model)
            expected = logits(plain(work / "model"))
            check(logits(model), expected, 1e-4)
        except Exception as error:
            said = " ".join(str(error).split())[:160]
            answer.send({"built": f"{type(error).__name__}: {said}"})
            return
        answer.send(run(model_type, work))


def all_types(types: list[str], out: Path, jobs: int) -> dict[str, dict[str, str]]:
    file = out / "architectures.json"
    done: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
    waiting = [t for t in types if t not in done]
    running: dict[str, tuple[Any, Connection]] = {}
    context = multiprocessing.get_context("fork")
    while waiting or running:
        while waiting and len(running) < jobs:
            mine, theirs = context.Pipe(duplex=False)
            name = waiting.pop(0)
            process = context.Process(target=child, args=(name, theirs))
            process.start()
            theirs.close()
            running[name] = (process, mine)
        for name, (process, mine) in list(running.items()):
            if mine.poll(0.2) or not process.is_alive():
                try:
                    done[name] = mine.recv()
                except EOFError:
                    done[name] = {"built": f"the process ended with {process.exitcode}"}
                process.join()
                del running[name]
                print(name, json.dumps(done[name]), flush=True)
                file.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
    return {name: done[name] for name in types}


def table(found: dict[str, dict[str, str]]) -> str:
    """The table, the counts, and the reasons."""
    built = {n: row for n, row in found.items() if "built" not in row}
    counts = {s: sum(row[s] == "yes" for row in built.values()) for s in STEPS}
    lines = [f"Of {len(found)} types {len(built)} were built. " + ", ".join(
        f"{step}: {count}" for step, count in counts.items()) + ".", "",
        "| type | " + " | ".join(STEPS) + " |", "|---|" + "---|" * len(STEPS)]  # fmt: skip
    reasons: list[str] = []
    for name, row in sorted(built.items()):
        cells = []
        for step in STEPS:
            if row[step] == "yes":
                cells.append("yes")
                continue
            # The same for every type, and without the place of a temporary directory.
            reason = re.sub(r"architecture '[^']*'", "this architecture", row[step])
            reason = re.sub(r"\S*/(model|w4|gptq): ", "", reason)
            if reason not in reasons:
                reasons.append(reason)
            cells.append(f"no ({reasons.index(reason) + 1})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Reasons:", ""]
    lines += [f"{i}. {reason}" for i, reason in enumerate(reasons, 1)]
    lines += ["", "Not built:", ""]
    lines += [f"- {n}: {row['built']}" for n, row in sorted(found.items()) if "built" in row]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--types", help="comma-separated; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    every = [*causal_types(), *multimodal_types()]
    types = arguments.types.split(",") if arguments.types else every
    found = all_types(types, arguments.out, arguments.jobs)
    (arguments.out / "architectures.md").write_text(table(found))


if __name__ == "__main__":
    main()
