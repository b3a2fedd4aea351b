"""Every engine's reading of every format: loads, loses what it should, writes the same tokens.

    python benchmarks/interop/run.py -o OUT [MODEL_DIR] [--text wiki.test.raw]
        [--page docs/interop.md] [--environments DIR] [--only ENGINE …]

Makes the virtual environments that are missing, quantizes MODEL_DIR (by default the demo's) for
every case, computes what each file means in float32 (weights dequantized, activations rounded as
the scheme says) and asks the engines: perplexity of the second half of 8 windows of 512 tokens, and
32 greedy tokens after each of 4 prompts. What OUT has is not done again. Writes OUT/interop.json
and the page.
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import CASES, ENGINES, ORIGINAL, Case, Engine
from environments import last_words, python_of, variables, versions
from page import page

import tersor
from tersor.calibration.text import evaluation_file, read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.demo import demo_model
from tersor.errors import TersorError

_WINDOWS, _LENGTH, _SKIP, _NEW = 8, 512, 255, 32
_SCRIPTS = Path(__file__).parent / "engines"
_SECONDS = 900


def questions(model: Path, text: Path | None, out: Path) -> Path:
    """Windows to score and prompts to go on from, as a file for the engines."""
    read = read_plain(evaluation_file().path if text is None else text)
    scored = windows(load_tokenizer(model), read, _LENGTH, _WINDOWS)
    place = out / "questions.npz"
    prompts = scored[:4, 100:164]
    np.savez(place, windows=scored.numpy(), prompts=prompts.numpy(), skip=_SKIP, new=_NEW)
    return place


def meaning(path: Path, asked: Path) -> dict[str, Any]:
    """What the file means: its perplexity in float32, greedy tokens, and logits beside each."""
    model = tersor.load(path, kernels=False)
    given = np.load(asked)
    skip, new = int(given["skip"]), int(given["new"])
    model.generation_config.eos_token_id = None
    losses, greedy, logits = [], [], []
    with torch.no_grad():
        for window in torch.from_numpy(given["windows"]):
            found = model(window[None]).logits[0, skip:-1].float()
            losses.append(torch.nn.functional.cross_entropy(found, window[skip + 1 :]).item())
        for prompt in torch.from_numpy(given["prompts"]):
            written = model.generate(
                prompt[None],
                attention_mask=torch.ones_like(prompt[None]),
                do_sample=False,
                max_new_tokens=new,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
            greedy.append(written.sequences[0, len(prompt) :].tolist())
            logits.append(torch.cat(written.logits).float())
    return {"nll": float(np.mean(losses)), "greedy": greedy, "logits": torch.stack(logits)}


def answers(engine: Engine, path: Path, asked: Path, out: Path, python: Path) -> dict[str, Any]:
    """What an engine answers, or the last words of its error."""
    place = out / "answers.npz"
    place.unlink(missing_ok=True)
    command = [python, _SCRIPTS / engine.script, path, asked, place, *engine.more]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env=variables(engine.environment),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {_SECONDS} s"}
    (out / "last.log").write_text(done.stdout + done.stderr)
    if done.returncode or not place.exists():
        return {"error": last_words(done.stderr)}
    found = np.load(place)
    return {"nll": float(found["nll"]), "greedy": found["greedy"].tolist()}


def compared(found: dict[str, Any], meant: dict[str, Any]) -> dict[str, Any]:
    """The change of perplexity in percent, and where the first token differs.

    ``gap``: by how much what is meant prefers its own token there, in logits.
    """
    if "error" in found:
        return found
    change = float(np.expm1(found["nll"] - meant["nll"])) * 100
    differing = []
    for row, (theirs, ours) in enumerate(zip(found["greedy"], meant["greedy"], strict=True)):
        at = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b), None)
        if at is not None:
            logits = meant["logits"][row, at]
            gap = (logits[ours[at]] - logits[theirs[at]]).item()
            differing.append({"prompt": row, "token": at, "gap": round(gap, 4)})
    return {"perplexity": float(np.exp(found["nll"])), "change": change, "differing": differing}


def made(case: Case, model: Path, out: Path) -> Path | str:
    """The case's file, quantized if it is not there; or why it cannot be."""
    place = out / case.folder
    if not place.exists():
        try:
            tersor.quantize(model, place, case.recipe, format=case.format, **case.options)
        except TersorError as error:
            return str(error)
    return place


class Study:
    """What is kept of all runs in ``out``. ``places``: where the environments are."""

    def __init__(self, out: Path, places: Path) -> None:
        self.out, self.places = out, places
        self.kept = out / "interop.json"
        found = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        self.results: dict[str, Any] = {"versions": {}, "cases": {}, **found}
        self.pythons: dict[str, Path | str] = {}

    def row(self, format_: str, scheme: str) -> dict[str, Any]:
        """The row of a file."""
        row = self.results["cases"].setdefault(f"{format_} {scheme}".strip(), {"engines": {}})
        return row | {"format": format_, "scheme": scheme}

    def keep(self, format_: str, scheme: str, row: dict[str, Any]) -> None:
        """Write it down."""
        self.results["cases"][f"{format_} {scheme}".strip()] = row
        self.kept.write_text(json.dumps(self.results, indent=2) + "\n")

    def asked(self, name: str, path: Path, asked: Path, meant: dict[str, Any]) -> dict[str, Any]:
        """What an engine answers, compared."""
        engine = ENGINES[name]
        environment = engine.environment
        if environment not in self.pythons:
            self.pythons[environment] = python_of(
                self.places, environment, lambda text: print(text, flush=True)
            )
        python = self.pythons[environment]
        if isinstance(python, str):
            return {"error": f"not installed: {python}"}
        self.results["versions"][environment] = versions(python, environment)
        return compared(answers(engine, path, asked, self.out, python), meant)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--environments", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--only", action="append", choices=list(ENGINES))
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    study = Study(out, arguments.environments or out / "environments")
    model = arguments.model or out / "original"
    if arguments.model is None and not model.exists():
        tersor.restore(demo_model(), model)
    asked = questions(model, arguments.text, out)
    for case in (ORIGINAL, *CASES):
        row = study.row(case.format, case.name)
        place = model if case is ORIGINAL else made(case, model, out)
        if isinstance(place, str):
            study.keep(case.format, case.name, {**row, "error": place})
            continue
        wanted = [one for one in case.engines if arguments.only is None or one in arguments.only]
        missing = [one for one in wanted if one not in row["engines"]]
        row.pop("error", None)
        meant = meaning(place, asked) if missing else {"nll": 0.0}
        for one in missing:
            row["perplexity"] = float(np.exp(meant["nll"]))
            row["engines"][one] = study.asked(one, place, asked, meant)
            study.keep(case.format, case.name, row)
            print(case.format, case.name, one, json.dumps(row["engines"][one]), flush=True)
    text = page(study.results)
    print(text)
    for place in filter(None, (out / "interop.md", arguments.page)):
        place.write_text(text)


if __name__ == "__main__":
    main()
