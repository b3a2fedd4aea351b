"""The README's pictures, from the rows in `benchmarks/results`; needs matplotlib.

    python benchmarks/pictures.py [-o docs]

Writes methods.svg (loss by method and width), speed.svg (tokens per second beside the peers) and
same-file.svg (the same GGUF files in the engine and in llama.cpp).
"""

import argparse
import json
import statistics
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
METHODS = (
    ("nearest", "w4"),
    ("imatrix", "imatrix"),
    ("awq", "awq"),
    ("gptq", "gptq"),
    ("rotate-gptq", "rotate-gptq"),
    ("optq-light", "optq-light"),
    ("rotate-gptaq", "rotate-gptaq"),
    ("qat", "qat"),
    ("best", "best"),
)
SCHEMES = {
    "w4": ("4 bits, groups of 64", "#1f5fa8", "-"),
    "w4c": ("4 bits, per channel", "#1f5fa8", "--"),
    "w3": ("3 bits, groups of 64", "#3a8f5c", "-"),
    "w3c": ("3 bits, per channel", "#3a8f5c", "--"),
    "w2": ("2 bits, groups of 64", "#c2562d", "-"),
    "w2c": ("2 bits, per channel", "#c2562d", "--"),
}
PEERS = {
    ("tersor w4",): ("tersor", "#1f5fa8"),
    ("llama.cpp q4_0",): ("llama.cpp Q4_0", "#8a8a8a"),
    ("ik_llama.cpp q4_0",): ("ik_llama.cpp Q4_0", "#aeaeae"),
    # In both of its precisions; the better one is shown.
    ("OpenVINO int4", "OpenVINO int4 f32"): ("OpenVINO int4", "#d4d4d4"),
}
MODELS = {
    "engine-smollm2-vnni": "SmolLM2-135M",
    "engine-qwen2.5-1.5b-vnni": "Qwen2.5-1.5B's shape",
}
SAME_FILES = {"135m": "SmolLM2-135M", "1.5b": "shape of Qwen2.5-1.5B"}


def methods(axes: Axes) -> None:
    """KL divergence of every method, a line for every width."""
    rows = json.loads((RESULTS / "loss/methods.json").read_text())
    for scheme, (label, color, style) in SCHEMES.items():
        found = [rows.get(f"{scheme}:{preset}") for _, preset in METHODS]
        points = [(x, row["wiki.test KL"]) for x, row in enumerate(found) if row is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, marker="o", ms=4, color=color, label=label)
    axes.set_xticks(range(len(METHODS)), [name for name, _ in METHODS])
    axes.set_yscale("log")
    axes.set_ylim(0.05, 60)
    axes.set_ylabel("KL divergence, nats per token (log scale)")
    axes.set_title("SmolLM2-135M: what each method leaves of the loss", loc="left")
    axes.grid(axis="y", which="major", color="#e4e4e4")
    axes.legend(frameon=False, fontsize=8, ncols=3)


def speed(axes: Axes, file: str, key: str, title: str) -> None:
    """Medians of all rounds of one model."""
    rounds = json.loads((RESULTS / f"engine/{file}.json").read_text())["rounds"]
    for index, (ways, (label, color)) in enumerate(PEERS.items()):
        rate = max(statistics.median(found[way][key] for found in rounds) for way in ways)
        bars = axes.bar(index, rate, 0.8, color=color, label=label)
        axes.bar_label(bars, [f"{rate:.0f}"], padding=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(y=0.15)
    axes.set_title(title, fontsize=9)


def same_file(axes: Axes, file: str, key: str, title: str) -> None:
    """Medians of all rounds for every GGUF file, in both engines."""
    rounds = json.loads((RESULTS / f"same-files/{file}.json").read_text())["rounds"]
    names = [way.removeprefix("tersor ") for way in rounds[0] if way.startswith("tersor ")]
    for side, (engine, color) in enumerate((("tersor", "#1f5fa8"), ("llama.cpp", "#8a8a8a"))):
        rates = [statistics.median(r[f"{engine} {name}"][key] for r in rounds) for name in names]
        places = [index + 0.4 * side for index in range(len(names))]
        bars = axes.bar(places, rates, 0.38, color=color, label=engine)
        axes.bar_label(bars, [f"{rate:.0f}" for rate in rates], padding=1, fontsize=6)
    axes.set_xticks([index + 0.2 for index in range(len(names))], names, fontsize=7)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(y=0.15)
    axes.set_title(title, fontsize=9)


def save(figure: plt.Figure, file: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs"))
    out = parser.parse_args().out
    plt.rcParams.update({"svg.hashsalt": "tersor", "font.size": 9, "svg.fonttype": "path"})
    figure, axes = plt.subplots(figsize=(8, 4))
    methods(axes)
    save(figure, out / "methods.svg")
    figure, row = plt.subplots(1, 4, figsize=(8, 2.6))
    panels = [(file, key) for file in MODELS for key in ("prefill", "decode")]
    for place, (file, key) in zip(row, panels, strict=True):
        speed(place, file, key, f"{MODELS[file]}\n{key}, tokens/s")
    names = row[0].get_legend_handles_labels()
    figure.legend(
        *names, frameon=False, fontsize=8, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0)
    )
    save(figure, out / "speed.svg")
    widths = {"width_ratios": (5, 5, 3, 3)}
    figure, row = plt.subplots(1, 4, figsize=(10, 2.4), gridspec_kw=widths)
    panels = [(file, key) for file in SAME_FILES for key in ("prefill", "decode")]
    for place, (file, key) in zip(row, panels, strict=True):
        same_file(place, file, key, f"{SAME_FILES[file]}\n{key}, tokens/s")
    names = row[0].get_legend_handles_labels()
    figure.legend(
        *names, frameon=False, fontsize=8, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0)
    )
    save(figure, out / "same-file.svg")


if __name__ == "__main__":
    main()
