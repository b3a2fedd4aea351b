"""Every claim of the text that tersor grew from, held against a real model.

    python benchmarks/claims.py MODEL_DIR -o OUT [--text wiki.test.raw] [--docs docs]
        [--calibration wiki.valid.raw] [--only NAME[,NAME]] [--windows 8]

MODEL_DIR: SmolLM2, in bfloat16. --text: what is scored, the second half of windows of 1024 tokens;
by default the text that comes with tersor. Prints each verdict; writes OUT/claims.json, and with
--docs DIR/claims.md and DIR/claims.zh.md. A quarter of an hour on two cores; what
is in OUT is not measured again.
"""

import argparse
import json
from pathlib import Path

from claimed import layers, loss, methods, numbers, page, speed, weights
from claimed.claim import Claim
from claimed.study import Study, Variant, variants

from tersor.machine.instructions import level
from tersor.options import did_you_mean
from tersor.version import versions

ALL = (
    *numbers.CLAIMS,
    *weights.CLAIMS,
    *loss.CLAIMS,
    *layers.CLAIMS,
    *speed.CLAIMS,
    *methods.CLAIMS,
)

PRESETS = (
    "int8-per-tensor", "vanilla-int8-asym", "w8a8", "w8a8-static", "smoothquant", "w4-asym",
    "w4-mse", "w3", "nf4", "log2", "imatrix", "awq", "gptaq",
)  # fmt: skip
NOTHING: dict[str, object] = {}
# What all claims together need, so that the original is run once.
MEASURED = (
    *variants(
        {
            "vanilla-int8": [NOTHING, {"include": loss.EMBEDDING}],
            "w4": [
                NOTHING,
                *({"group_size": size} for size in loss.SIZES if size != 64),
                {"include": loss.EMBEDDING},
                {"exclude": layers.ALL_BUT_ONE},
                *({"exclude": patterns} for patterns in layers.ALONE.values()),
            ],
            "gptq": [NOTHING, {"group_size": 32}, {"group_size": 128}],
            **{name: [NOTHING] for name in PRESETS},
        }
    ),
    Variant("w4", keys=(("correction", "bias"),)),
)


def chosen(names: str | None) -> list[Claim]:
    claims = sorted(ALL, key=lambda claim: claim.answer)
    if names is None:
        return claims
    known = {claim.name: claim for claim in claims}
    wanted = names.split(",")
    for name in wanted:
        if name not in known:
            raise SystemExit(f"--only {name!r} is not known{did_you_mean(name, known)}")
    return [known[name] for name in wanted]


def processor() -> str:
    """Its name, and the kernels that run on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'a processor'} ({level()})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--windows", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.only and arguments.docs:
        raise SystemExit("--docs needs all claims; leave out --only")
    arguments.out.mkdir(parents=True, exist_ok=True)
    study = Study(
        arguments.model, arguments.out, arguments.text, arguments.calibration, arguments.windows
    )
    if not arguments.only:
        study.compare(*MEASURED)
    found = []
    for claim in chosen(arguments.only):
        finding = claim.check(study)
        found.append((claim, finding))
        print(f"{claim.name}: {finding.verdict.value[0]}. {finding.said}", flush=True)
    rows = [
        {"answer": c.answer, "name": c.name, "verdict": f.verdict.value[0], "said": f.said}
        for c, f in found
    ]
    (arguments.out / "claims.json").write_text(
        json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    )
    if arguments.docs:
        text = arguments.text.name if arguments.text else "tersor's own text"
        read = arguments.calibration.name if arguments.calibration else "tersor's own mixture"
        conditions = (
            f"{arguments.model.name}, two threads of {processor()}; tersor "
            f"{versions()['tersor']}, torch {versions()['torch']}; scored: {text}, "
            f"{study.windows} windows of 1024 tokens, second halves; calibrated on {read}."
        )
        (arguments.docs / "claims.md").write_text(page.english(found, conditions))
        (arguments.docs / "claims.zh.md").write_text(page.chinese(found, conditions))


if __name__ == "__main__":
    main()
