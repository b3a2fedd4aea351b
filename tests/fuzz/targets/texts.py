"""Texts to score: prose, rows of data sets, compressed or not."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from fuzz import entrances, seeds
from fuzz.damage import damage
from fuzz.mutations import dumped, mutate
from fuzz.target import Seed, Target

_ROWS = [{"text": f"row {number} of several, long enough to score"} for number in range(8)]


def _lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(dumped(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def _table(rows: list[dict[str, str]]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["text"])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _parquet(rows: list[dict[str, str]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


_MAKERS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "text.jsonl": _lines,
    "text.json": lambda rows: json.dumps(rows).encode(),
    "text.csv": _table,
    "text.txt": lambda rows: " ".join(row["text"] for row in rows).encode(),
    "text.parquet": _parquet,
    "text.jsonl.gz": lambda rows: gzip.compress(_lines(rows), mtime=0),
    "text.txt.bz2": lambda rows: bz2.compress(_lines(rows)),
    "text.jsonl.xz": lambda rows: lzma.compress(_lines(rows)),
}


def _seed(name: str, folder: Path) -> None:
    seeds.model(folder)
    (folder / "text.txt").unlink()
    (folder / name).write_bytes(_MAKERS[name](_ROWS))
    # Entrances name the file, whatever becomes of it.
    (folder / "given").write_text(name)


def _damage(folder: Path, random: Random) -> str:
    path = _given(folder)
    if path.suffix != ".jsonl" or random.random() < 0.4:
        data = path.read_bytes()
        cuts = [at for at, byte in enumerate(data) if byte in b'{}",\n'][:200]
        what = damage(path, random, cuts)
    else:
        rows = [dict(row) for row in _ROWS]
        messages = [{"role": "user", "content": "hello"}]
        what = mutate(rows, random, (messages, {"text": "a"}, {"messages": messages}))
        path.write_bytes(_lines(rows))
    return what


def _given(folder: Path) -> Path:
    named = folder / "given"
    return folder / (named.read_text() if named.exists() else "TEXT")


def _evaluated(folder: Path) -> list[float]:
    import tersor

    found = tersor.evaluate(folder / "model", text=[_given(folder)], context=16, windows=2)
    return [one.nll for one in found.evaluations]


def _calibrated(folder: Path) -> list[float]:
    import tersor

    tersor.quantize(
        folder / "model",
        folder / "results" / "out",
        "imatrix",
        calibration=[_given(folder)],
        tokens=32,
        window=16,
    )
    return []


EVALUATE = entrances.Entrance(
    _evaluated,
    lambda folder: [
        *("evaluate", str(folder / "model"), "--text", str(_given(folder))),
        *("--context", "16", "--windows", "2"),
    ],
)
CALIBRATE = entrances.Entrance(
    _calibrated,
    lambda folder: [
        *("quantize", str(folder / "model"), "-o", str(folder / "results" / "out")),
        *("--recipe", "imatrix", "--calibration", str(_given(folder))),
        *("--tokens", "32", "--window", "16"),
    ],
)

TEXT = Target(
    {name: Seed(partial(_seed, name), (EVALUATE, EVALUATE, CALIBRATE)) for name in _MAKERS}, _damage
)
