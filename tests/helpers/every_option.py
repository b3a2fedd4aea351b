"""Every option of every command: values outside and at its bounds, and pairs that do not go.

What is given as Python is written as text on the command line. ``MODEL``, ``OUT``, ``TEXT`` and
``NOWHERE`` stand for paths of a test.
"""

from dataclasses import dataclass
from typing import Any

MODEL, OUT, TEXT, NOWHERE, FOLDER = "<model>", "<out>", "<text>", "<nowhere>", "<folder>"

_Q_PROJ, _VALUES = "model.layers.0.self_attn.q_proj", "--values=-1,2"

# What every command needs to run at all.
NEEDED: dict[str, list[Any]] = {
    "restore": [MODEL, "-o", OUT],
    "quantize": [MODEL, "-o", OUT, "--group-size", 16],
    "import": [MODEL, "-o", OUT],
    "export": [MODEL, "-o", OUT, "--format", "awq"],
    "check": [MODEL],
    "upload": [MODEL, "me/small"],
    "evaluate": [MODEL, "--text", TEXT, "--context", 32],
    "compare": [MODEL, "-o", OUT, "--recipes", "vanilla-int8", "--text", TEXT, "--context", 32],
    "explain": [MODEL, "--tensor", _Q_PROJ],
    "inspect": [MODEL],
    "sensitivity": [MODEL, "--tokens", 64, "--window", 32],
    "recipes": ["w4"],
    "status": [OUT],
    "demo": ["-o", OUT],
    "generate": [MODEL, "--prompt", "hello"],
    "chat": [MODEL],
    "bench": [MODEL],
    "cache list": [],
    "cache clear": [MODEL],
}

_ENGINE = ("generate", "chat", "bench")
_TALK = ("generate", "chat")
_SCORED = ("evaluate", "compare")


@dataclass(frozen=True)
class Option:
    """Values that an option does not take, and those at its bounds, which it does.

    ``beside``: what gives the option a meaning. ``call``: the Python function, of those in the
    test, that takes it as ``name``; ``odd``: further values that only Python can give.
    """

    commands: tuple[str, ...]
    name: str
    wrong: tuple[Any, ...]
    right: tuple[Any, ...] = ()
    beside: tuple[Any, ...] = ()
    calls: tuple[str, ...] = ()
    odd: tuple[Any, ...] = ()
    flag: str = ""

    @property
    def spelling(self) -> str:
        """The flag on the command line."""
        return self.flag or "--" + self.name.replace("_", "-")


_NUMBERS = (True, 2.5, "8", None)
_WARM = ("--temperature", 1)
_LARGE = 2**31

OPTIONS = [
    # Recipes.
    Option(
        ("quantize",), "recipe", ("w44", NOWHERE, ""), ("w4",), (), ("quantize",), (3, ["w4"], None)
    ),
    Option(("quantize",), "bits", (1, 9, 7), (2, 8), (), ("adjust", "plan"), (True, 2.5, "8")),
    Option(("quantize",), "group_size", (-1, 1, 2**20 + 1, 1000), (0, 2), (), ("adjust",), (True,)),
    Option(("quantize",), "include", ("", "re:(", "lm_haed"), ("lm_head",), (), ("adjust",), (3,)),
    Option(("quantize",), "exclude", ("", "re:(", "o_prj"), ("o_proj",), (), ("adjust",), (3,)),
    Option(("quantize",), "tokens", (1, _LARGE), (2, 64), ("--recipe", "gptq"), ("gptq",), (True,)),
    Option(("quantize",), "window", (1, 2**20 + 1), (2,), ("--recipe", "gptq"), ("gptq",), (2.5,)),
    Option(
        ("quantize",), "seed", (-1, 2**64), (0, 2**64 - 1), ("--recipe", "optq"), ("optq",), (True,)
    ),
    Option(
        ("quantize",), "calibration", (NOWHERE, FOLDER), (TEXT,), ("--recipe", "gptq"), ("texts",)
    ),
    Option(("quantize",), "format", ("gguff", ""), ("tersor",), (), ("plan",), (3,)),
    Option(("export",), "format", ("gguff", ""), (), (), ("export",), (3, None)),
    Option(("import",), "source", (NOWHERE, FOLDER), (), (), ("import",), (3, ""), "SOURCE"),
    Option(("export",), "directory", (NOWHERE, FOLDER), (), (), ("export",), (3, ""), "DIRECTORY"),
    Option(("check",), "directory", (NOWHERE, FOLDER), (), (), ("check",), (3, ""), "DIRECTORY"),
    Option(("upload",), "directory", (NOWHERE, FOLDER), (), (), ("upload",), (3, ""), "DIRECTORY"),
    Option(("upload",), "name", ("small", "a/b/c"), (), (), ("upload",), (3, ""), "NAME"),
    Option(("quantize",), "target", ("vlm", ""), ("transformers",), (), ("plan",), (3,)),
    Option(("quantize",), "source", (NOWHERE, FOLDER), (), (), ("quantize",), (3, ""), "SOURCE"),
    Option(
        ("restore", "quantize", "compare", "demo", "import", "export"),
        "out",
        (TEXT,),
        (),
        (),
        ("quantize",),
        (3, ""),
        "-o",
    ),
    Option(("status",), "out", (NOWHERE, FOLDER), (), (), (), (), "OUT"),
    # Evaluation.
    Option(_SCORED, "context", (-5, 0, 1, 2**20 + 1, 200), (2, 128), (), _SCORED, _NUMBERS[:3]),
    Option(_SCORED, "windows", (-1, 0, _LARGE), (1, _LARGE - 1), (), _SCORED, (True, 2.5)),
    Option(_SCORED, "skip", (-1, 31, 2**20 + 1), (0, 30), (), _SCORED, _NUMBERS),
    Option(_SCORED, "text", (NOWHERE, FOLDER), (TEXT,), (), _SCORED, (3, "")),
    Option(("compare",), "calibration", (NOWHERE,), (TEXT,), ("--recipes", "gptq"), ()),
    Option(("compare",), "bits", (1, 9, "4,", "x"), (2, 8), (), ("compare",), (True, [2.5])),
    Option(("compare",), "recipes", ("w44", "", "w4,"), ("w8a8",), (), ("compare",), (3, [])),
    Option(
        ("evaluate",), "directory", (NOWHERE, FOLDER), (), (), ("evaluate",), (3, ""), "DIRECTORY"
    ),
    Option(("compare",), "source", (NOWHERE, FOLDER), (), (), ("compare",), (3, ""), "SOURCE"),
    Option(("evaluate",), "base", (NOWHERE, FOLDER), (MODEL,), (), ("evaluate",), (3, "")),
    Option(
        ("evaluate", "compare"),
        "tasks",
        ("", "next_numbr", "a,"),
        ("next_number",),
        ("--task-path", FOLDER),
        ("tasks",),
        ([], 3),
    ),
    Option(
        ("evaluate", "compare"),
        "task_path",
        (NOWHERE, TEXT),
        (FOLDER,),
        ("--tasks", "next_number"),
        ("tasks",),
        (3,),
    ),
    Option(
        ("evaluate", "compare"),
        "limit",
        (-1, 0, _LARGE),
        (1, _LARGE - 1),
        ("--tasks", "next_number", "--task-path", FOLDER),
        ("tasks",),
        (True, 2.5),
    ),
    # Explanations.
    Option(
        ("explain",),
        "values",
        ("", "nan", "1,,2", "1,-inf", "1;2", "1,1e19", "1e-50", "0x1", "1_0", "½"),
        (),
        (),
        ("explain",),
        (None, [], [True], [float("nan")], {}, b"1"),
    ),
    Option(("explain",), "bits", (1, 9, 7), (2, 8), (), ("explain", "weight"), (True, 2.5, "8")),
    # Beside a model they are refused in any case; values of their own are given in Python.
    Option(
        ("explain",), "scale", (), (), (), ("explain",), (0, -1, "nan", "x", "", True, [1], 1e20)
    ),
    Option(("explain",), "zero_point", (), (), (), ("shifted",), (-129, 128, True, 2.5, "1")),
    Option(("explain",), "source", (NOWHERE, FOLDER), (), (), ("weight",), (3, ""), "SOURCE"),
    Option(("explain",), "tensor", ("", "q_prj", "q_proj"), (_Q_PROJ,), (), ("weight",), (3,)),
    Option(("explain",), "row", (-1, 64), (0, 63), (), ("weight",), (True, 2.5)),
    Option(("explain",), "column", (-1, 64), (0, 63), (), ("weight",), (True, 2.5)),
    Option(("explain",), "recipe", ("w44", NOWHERE, ""), ("w3",), (), ("weight",), (3, ["w4"])),
    Option(("explain",), "group_size", (-1, 1, 65), (0, 2), (), ("weight",), (True,)),
    Option(("explain",), "base", (NOWHERE, FOLDER), (), (), ("weight",), (3, "")),
    Option(("inspect",), "source", (NOWHERE, FOLDER), (), (), ("inspect",), (3, ""), "SOURCE"),
    Option(("explain", "inspect"), "out", (FOLDER, TEXT), (), (), ("inspect",), (3, ""), "-o"),
    Option(("inspect",), "other", (), (), (), ("inspect",), (NOWHERE, MODEL, 3, ""), "OTHER"),
    Option(("inspect",), "base", (NOWHERE, MODEL), (), (), ("inspect",), (3, "")),
    # Budgets.
    Option(
        ("quantize",), "target_bits", (0, 0.9, 16.1, "nan", 2), (5.5,), (), ("plan",), ("5", True)
    ),
    Option(
        ("quantize",),
        "target_size",
        ("", "much", "-1MB", "1kB", "1TB"),
        ("115kB",),
        (),
        ("plan",),
        (0, True, 2.5),
    ),
    Option(("quantize",), "max_kl", (0, -1, "nan", 101), (0.01, 100), (), ("plan",), ("5", True)),
    # Sensitivities.
    Option(
        ("sensitivity",),
        "out",
        (FOLDER, "page.txt", "/nowhere/page.html"),
        (),
        (),
        ("sensitivity",),
        (3, ""),
        "-o",
    ),
    Option(("sensitivity",), "source", (NOWHERE, FOLDER), (), (), (), (), "SOURCE"),
    Option(("sensitivity",), "recipe", ("w44", NOWHERE), ("w4",)),
    Option(
        ("sensitivity",),
        "schemes",
        ("", "w9", "w4,", "w4g1", "four", "w7"),
        ("w2", "w4g16", "w4c"),
        (),
        ("sensitivity",),
        (3, []),
    ),
    Option(
        ("sensitivity",), "by", ("", "liner"), ("linear", "block", "role"), (), ("sensitivity",)
    ),
    Option(
        ("sensitivity",), "exact_sample", (0, _LARGE), (1, 1000), (), ("sensitivity",), (True, 2.5)
    ),
    Option(("sensitivity",), "calibration", (NOWHERE, FOLDER), (TEXT,), (), ("sensitivity",)),
    Option(("sensitivity",), "tokens", (1, _LARGE), (64,), (), ("sensitivity",), (True,)),
    Option(("sensitivity",), "window", (1, 2**20 + 1), (16,), (), ("sensitivity",), (2.5,)),
    Option(("sensitivity",), "seed", (-1, 2**64), (0, 7), (), ("sensitivity",), (True,)),
    Option(("demo",), "windows", (0, -1), ()),
    Option(("demo",), "recipes", ("w44", "w4,"), ()),
    Option(("recipes",), "name", ("w44",), flag="NAME"),
    Option(("restore",), "gguf", (NOWHERE, FOLDER, MODEL), flag="GGUF"),
    Option(("cache clear",), "artifact", ()),
    # The engine.
    Option(("evaluate",), "activation_bits", (4, 0, -8), (8, 16), ("--engine",), ("run",), (True,)),
    Option(("evaluate",), "dense_bits", (4, 0), (8, 16), ("--engine",), ("run",), (True,)),
    Option(("evaluate",), "cache", ("int9", ""), ("auto", "int8"), ("--engine",), ("run",), (8,)),
    Option(
        _ENGINE,
        "activation_bits",
        (4, 0, -8),
        (8, 16),
        (),
        ("engine", "options", "load"),
        (True, 8.0),
    ),
    Option(_ENGINE, "dense_bits", (4, 0, -8), (8, 16), (), ("engine", "options"), (True, "8")),
    Option(
        _ENGINE,
        "cache",
        ("int9", "", "Int8"),
        ("auto", "float32", "int8"),
        (),
        ("engine",),
        (8, None),
    ),
    Option(_ENGINE, "threads", (-1, 0, 3000), (1, 16), (), ("engine", "options"), (True, 2.5)),
    Option(
        ("generate", "chat"), "context", (-5, 0, 1, 10**9), (2, 128), (), ("engine",), (True, 2.5)
    ),
    Option(("bench",), "context", (-5, 0, 575, 10**9), (576,), (), ()),
    # Generation.
    Option(_TALK, "max_new_tokens", (-1, 0, _LARGE), (1, 5), (), ("generate",), _NUMBERS),
    Option(("generate",), "speculate", (-1, 8, 100), (0, 7), (), ("stream",), _NUMBERS),
    Option(("generate",), "stop", ("",), ("x",), (), ("stream",), (3, [""], [3], None)),
    Option(("generate",), "prompt", ("",), ("x",), (), ("generate",), (3, None, ["a"])),
    Option(_TALK, "temperature", (-1, "nan", "inf"), (0, 0.5), (), ("sampling",), (True, None)),
    Option(_TALK, "top_k", (-1, _LARGE), (0, _LARGE - 1), _WARM, ("warm",), _NUMBERS),
    Option(_TALK, "top_p", (-1, 0, 1.01, "nan"), (0.01, 1), _WARM, ("warm", "draw"), (True,)),
    Option(
        _TALK,
        "repetition_penalty",
        (0, -1, 1000.1, "nan"),
        (1, 1.3),
        (),
        ("sampling",),
        (True, None),
    ),
    Option(_TALK, "min_p", (-0.1, 1.01, "nan"), (0, 1), _WARM, ("warm", "draw"), (True,)),
    Option(_TALK, "seed", (-1, 2**64), (0, 2**64 - 1), _WARM, ("warm", "draw"), (True, 2.5)),
    Option(("chat",), "system", (), ("", "Be brief.")),
    Option(("generate", "chat", "bench"), "directory", (NOWHERE, FOLDER), flag="DIRECTORY"),
    # Timing.
    Option(("bench",), "prompt_tokens", (-1, 0, _LARGE), (1,), (), ("timing",), _NUMBERS),
    Option(("bench",), "new_tokens", (-1, 1, _LARGE), (2,), (), ("timing",), _NUMBERS),
    Option(("bench",), "repetitions", (-1, 0, 10001), (1, 10000), (), ("timing",), _NUMBERS),
    Option(("bench",), "batch", (-1, 0, 65), (1, 64), (), ("timing", "engine"), _NUMBERS),
]

# Flags have no bounds; those that mean something only beside others are in PAIRS.
SWITCHES = {
    "restore": ("merge_adapter", "force"),
    "quantize": (
        "any_widths",
        "asymmetric",
        "dry_run",
        "resume",
        "force",
        "allow_pickle",
        "merge_adapter",
        "as_json",
    ),
    "evaluate": ("engine", "update_card", "as_json"),
    "compare": ("speed", "force", "allow_pickle", "merge_adapter", "as_json"),
    "explain": ("asymmetric", "effect", "allow_pickle", "merge_adapter", "force", "as_json"),
    "inspect": ("asymmetric", "activations", "allow_pickle", "merge_adapter", "force", "as_json"),
    "sensitivity": ("exact", "allow_pickle", "merge_adapter", "as_json"),
    "import": ("force", "as_json"),
    "export": ("force", "as_json"),
    "check": ("as_json",),
    "upload": ("private", "as_json"),
    "recipes": ("as_json",),
    "status": ("as_json",),
    "demo": ("force",),
    "bench": ("as_json",),
    "cache list": ("as_json",),
    "cache clear": ("as_json",),
}


@dataclass(frozen=True)
class Pair:
    """Options that exclude each other, or one without what it needs; ``named`` is in the error."""

    command: str
    given: tuple[Any, ...]
    named: str


PAIRS = [
    Pair("quantize", ("--tokens", 64), "--tokens"),
    Pair("quantize", ("--window", 64), "--window"),
    Pair("quantize", ("--seed", 1), "--seed"),
    Pair("quantize", ("--recipe", "gptq", "--seed", 1), "--seed"),
    Pair("quantize", ("--calibration", TEXT), "--calibration"),
    Pair("quantize", ("--calibration", TEXT, "--dry-run"), "--calibration"),
    Pair("quantize", ("--recipe", "gptq", "--calibration", NOWHERE, "--dry-run"), "nowhere"),
    Pair("quantize", ("--recipe", "nf4", "--bits", 3), "--bits"),
    Pair("quantize", ("--recipe", "mxfp4"), "--group-size"),
    Pair("quantize", ("--recipe", "nf4", "--asymmetric"), "--asymmetric"),
    Pair("quantize", ("--merge-adapter",), "adapter"),
    Pair("quantize", ("-o", MODEL, "--dry-run"), "exists already"),
    Pair("quantize", ("-o", MODEL, "--force"), "holds the source"),
    Pair("quantize", ("--any-widths",), "--any-widths"),
    Pair("quantize", ("--target-bits", 5, "--target-size", "1MB"), "--target-bits"),
    Pair("quantize", ("--target-bits", 5, "--bits", 3), "--bits"),
    Pair("quantize", ("--recipe", "qat", "--max-kl", 1, "--resume"), "--resume"),
    Pair("quantize", ("--recipe", "nf4", "--max-kl", 1), "--max-kl"),
    Pair("compare", ("--recipes", "w4,w4"), "two recipes are called"),
    Pair("compare", ("--calibration", TEXT), "--calibration"),
    Pair("compare", ("--merge-adapter",), "adapter"),
    Pair("sensitivity", ("--exact", "--exact-sample", 3), "--exact"),
    Pair("sensitivity", ("--recipe", "nf4"), "--schemes"),
    Pair("sensitivity", ("--merge-adapter",), "adapter"),
    Pair("evaluate", ("--activation-bits", 16), "--activation-bits"),
    Pair("evaluate", ("--cache", "int8"), "--cache"),
    Pair("evaluate", ("--dense-bits", 16), "--dense-bits"),
    Pair("evaluate", ("--limit", 3), "--limit"),
    Pair("evaluate", ("--task-path", FOLDER), "--task-path"),
    Pair("evaluate", ("--update-card",), "--update-card"),
    Pair("evaluate", ("--update-card", "--base", MODEL, "--text", TEXT), "--update-card"),
    Pair("explain", ("--zero-point", 3), "--zero-point"),
    Pair("explain", ("--scale", 3), "--scale"),
    Pair("explain", (_VALUES,), "--values"),
    Pair("explain", ("--merge-adapter",), "adapter"),
    Pair("explain", ("--recipe", "gptq"), "--base"),
    Pair("explain", ("--force",), "--out"),
    Pair("inspect", ("--merge-adapter",), "adapter"),
    Pair("inspect", ("--force",), "--out"),
    Pair("generate", ("--top-k", 5), "--top-k"),
    Pair("generate", ("--top-p", 0.5), "--top-p"),
    Pair("generate", ("--min-p", 0.5), "--min-p"),
    Pair("generate", ("--seed", 5), "--seed"),
    Pair("chat", ("--temperature", 0, "--top-p", 0.5), "--top-p"),
    Pair("bench", ("--new-tokens", 20000, "--context", 64), "--context"),
    Pair("bench", ("--prompt-tokens", 64, "--context", 64), "--context"),
    Pair("restore", ("--merge-adapter",), "adapter"),
]
