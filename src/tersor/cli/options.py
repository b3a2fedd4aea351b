"""Options that several commands share."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    Path,
    typer.Argument(help="Hugging Face directory or GGUF file.", show_default=False),
]
Directory = Annotated[
    Path,
    typer.Argument(help="Model directory, quantized or not, or GGUF file.", show_default=False),
]


def recipe_names(incomplete: str) -> list[str]:
    """What a shell offers for a recipe: presets, and YAML files that begin like this."""
    # Importing the recipes would take a second or more for every press of a key.
    folder = resources.files("tersor") / "recipes" / "presets"
    presets = [
        file.name.removesuffix(".yaml")
        for room in folder.iterdir()
        if room.is_dir()
        for file in room.iterdir()
    ]
    directory = incomplete[: incomplete.rfind("/") + 1]
    files = [directory + file.name for file in Path(directory or ".").glob("*.y*ml")]
    return [name for name in sorted(presets) + sorted(files) if name.startswith(incomplete)]


def several_recipe_names(incomplete: str) -> list[str]:
    """The same for the last of several with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    chosen = before.split(",")
    return [before + comma + name for name in recipe_names(last) if name not in chosen]


RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="Preset or YAML file; see `tersor recipes`.",
        autocompletion=recipe_names,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Directory to write.", show_default=False)]
Texts = Annotated[
    list[Path] | None,
    typer.Option(
        "--text",
        help="Text to score: plain, or text or messages in JSON lines, Parquet; may be repeated. "
        "Default: a built-in one.",
        show_default=False,
    ),
]
CalibrationTexts = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibration",
        help="Text to calibrate on: plain, or text or messages in JSON lines, Parquet; may be "
        "repeated. Default: a built-in mixture.",
        show_default=False,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(help="Tokens per window.", show_default="1024, or what the model reads if less"),
]
Windows = Annotated[int, typer.Option(help="Windows to score.")]
WindowsOfAll = Annotated[
    int | None, typer.Option("--windows", help="Windows to score.", show_default="all")
]
Skip = Annotated[int, typer.Option(help="First tokens of each window that are context only.")]
PageFile = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="HTML file to show it in, besides what is printed.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Accept .bin weights (loaded with weights_only)."),
]
MergeAdapter = Annotated[
    bool,
    typer.Option("--merge-adapter", help="Merge the LoRA adapter in the directory."),
]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Of the result: compressed-tensors, tersor, …",
        show_default="the first that can hold it",
    ),
]
ActivationBits = Annotated[
    int,
    typer.Option(help="Of the engine: 8 (integer kernels) or 16 (left alone, more slowly)."),
]
DenseBits = Annotated[
    int | None,
    typer.Option(
        help="Of the engine: matrices stored as floats at 8 bits per channel, or 16: as they are.",
        show_default="8 for quantized models with --activation-bits 8, else 16",
    ),
]
CacheType = Annotated[
    str,
    typer.Option("--cache", help="Keys and values: auto, float32, float16, bfloat16, int16, int8."),
]
TargetBits = Annotated[
    float | None,
    typer.Option(
        help="Choose widths for so many bits per quantized weight, scales included.",
        show_default=False,
    ),
]
TargetSize = Annotated[
    str | None,
    typer.Option(
        help="Choose widths for so many bytes in all: 90MB; of head and embedding too.",
        show_default=False,
    ),
]
MaxKl = Annotated[
    float | None,
    typer.Option(
        help="Choose widths for the least bytes with at most this KL divergence.",
        show_default=False,
    ),
]
AnyWidths = Annotated[
    bool,
    typer.Option("--any-widths", help="Within a budget: mix widths that are no neighbours, too."),
]
