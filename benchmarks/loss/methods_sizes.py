"""MB of rows of `benchmarks/loss/methods.py` made before it stored them; reads no weights.

    python benchmarks/loss/methods_sizes.py MODEL_DIR [benchmarks/results/loss/methods.json]

A plan's sizes are those of the artifact. Rotated models of that time left head and embedding in
bfloat16, which such rows say from now on (`untied_bits`). Rows of peers get none.
"""

import json
import sys
from pathlib import Path

from methods import PRESETS, SCHEMES, UNTYING

from tersor.checkpoints.opening import open_source
from tersor.pipeline.planning import make_plan
from tersor.pipeline.planning.prepare import prepared
from tersor.recipes import Adjustments, load_recipe


def adjustments(scheme: str, *, untied_bits: int) -> Adjustments:
    """The flags of a row as the command line takes them."""
    flags = dict(zip(SCHEMES[scheme][::2], SCHEMES[scheme][1::2], strict=True))
    exclude = ("lm_head", "embed_tokens") if untied_bits == 16 else ()
    bits, group = (flags.get(name) for name in ("--bits", "--group-size"))
    return Adjustments(
        bits=None if bits is None else int(bits),
        group_size=None if group is None else int(group),
        exclude=exclude,
    )


def main() -> None:
    source = open_source(Path(sys.argv[1]))
    default = Path(__file__).parents[1] / "results/loss/methods.json"
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else default
    rows = json.loads(file.read_text())
    for name, row in rows.items():
        scheme, preset = name.split(":")
        if "MB" in row or preset not in (*PRESETS, "w8a8", "smoothquant"):
            continue
        bits = 16 if preset in UNTYING else 8
        recipe = adjustments(scheme, untied_bits=bits).apply(load_recipe(preset))
        plan = make_plan(prepared(source, recipe), recipe)
        row["MB"] = round(plan.bytes / 1e6, 1)
        if preset in UNTYING:
            row["untied_bits"] = bits
    file.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
