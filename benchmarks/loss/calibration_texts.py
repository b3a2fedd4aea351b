"""What the text that calibrates a model does to its loss on prose and on dialogue.

    python benchmarks/loss/calibration_texts.py MODEL_DIR -o OUT --text wiki.test.raw \
        --text benchmarks/data/dialogues.jsonl --calibration wiki=wiki.valid.txt \
        --calibration chat=messages.jsonl [--recipe gptq] [--tokens 8192]

Calibrates the recipe on every text given and on what comes with tersor ("built-in"), and prints the
KL divergence from the original on each ``--text``: windows of 512 tokens, of which the second half
is scored. Conversations go through the model's chat template; a model without one gets them as
plain transcripts.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import tersor
from tersor.calibration.text import open_text
from tersor.calibration.text.template import transcript
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.pipeline.studies.evaluate import Protocol, scored_texts
from tersor.recipes import Adjustments, load_recipe
from tersor.report import to_markdown


def readable(path: Path, tokenizer: Any, out: Path) -> Path:
    """The file itself, or the transcripts of its conversations for a model without a template."""
    file = open_text(path)
    if file.rows is None or getattr(tokenizer, "chat_template", None):
        return path
    text = "".join(transcript(row.messages) + "\n" for row in file.rows())
    plain = out / f"{path.stem}.txt"
    plain.write_text(text, encoding="utf-8")
    return plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument("--calibration", action="append", default=[])
    parser.add_argument("--recipe", default="gptq")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--windows", type=int, default=8)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    store = out / "rows.json"
    rows: dict[str, dict[str, object]] = json.loads(store.read_text()) if store.exists() else {}
    tokenizer = load_tokenizer(arguments.model)
    given = [(name, [path]) for name, path in (c.split("=", 1) for c in arguments.calibration)]
    texts = [readable(text, tokenizer, out) for text in arguments.text]
    protocol = Protocol(context=512, windows=arguments.windows, skip=256)
    scored = scored_texts(arguments.model, tokenizer, texts, protocol)
    original = tersor.load(arguments.model, kernels=False)
    bases = [CachedBase(original, text.windows, out, skip=text.skip) for text in scored]
    recipe = Adjustments(tokens=arguments.tokens).apply(load_recipe(arguments.recipe))
    for name, paths in [("built-in", []), *given]:
        if name in rows:
            continue
        files = [readable(Path(path), tokenizer, out) for path in paths]
        directory = out / "artifact"
        made = tersor.quantize(arguments.model, directory, recipe, calibration=files, force=True)
        model = tersor.load(directory, kernels=False)
        row: dict[str, object] = {"calibrated on": name, "notes": list(made.notes)}
        for text, base in zip(scored, bases, strict=True):
            found = evaluate_model(
                model, text.windows, base=base, skip=text.skip, first_tokens=text.first_tokens
            )
            row[f"KL {text.name}"] = f"{found.kl_mean:.4f}"
            row[f"same top {text.name}"] = f"{found.top1_agreement:.4f}"
        rows[name] = row
        print(json.dumps(row), flush=True)
        store.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    shown = [{k: str(v) for k, v in row.items() if k != "notes"} for row in rows.values()]
    print(to_markdown(shown))


if __name__ == "__main__":
    main()
