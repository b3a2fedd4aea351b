"""``quantize`` on what people calibrate with: messages, Parquet, several files, nothing."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import tersor
from calibrating import small
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.errors import TextError
from tersor.pipeline.result import QuantizeResult
from tersor.recipes import Calibration
from tiny_models import save_text, save_tiny, save_tokenizer

BUDGET = Calibration(tokens=480, window=30)
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }};{% endfor %}"
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"{i} plus {i}?"},
            {"role": "assistant", "content": f"It is {2 * i}."},
        ]
    }
    for i in range(40)
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "llama"
    save_tiny("llama", directory)
    save_tokenizer(directory)
    return directory


def chatting(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)


def calibrated(model: Path, *files: Path) -> QuantizeResult:
    recipe = small("gptq", calibration=BUDGET)
    return tersor.quantize(model, model.parent / "out", recipe, calibration=files, force=True)


def codes(result: QuantizeResult) -> tuple[str, ...]:
    """Digests of all quantized matrices."""
    return tuple(record.digest for record in result.layers if record.scheme)


def test_messages_by_any_file_give_the_same_codes(model: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    chatting(model)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    files = [model.parent / name for name in ("a.jsonl", "a.jsonl.gz", "a.parquet", "a.json")]
    files[0].write_text(lines)
    files[1].write_bytes(gzip.compress(lines.encode()))
    parquet.write_table(pa.Table.from_pylist(ROWS), files[2])
    files[3].write_text(json.dumps(ROWS))
    # The same as plain text, as the template writes it.
    plain = model.parent / "a.txt"
    said = (f"{m['role']}: {m['content']};" for row in ROWS for m in row["messages"])
    plain.write_text("".join(said))
    results = [calibrated(model, file) for file in [*files, plain]]
    assert len({codes(result) for result in results}) == 1
    noted = [note for note in results[0].notes if "rows used" in note]
    assert len(noted) == 1
    assert noted[0].startswith("calibrated on a.jsonl (JSON lines): 13 rows used")
    assert not [note for note in results[-1].notes if "calibrated on" in note]


def test_several_files_are_mixed_and_it_is_said(model: Path) -> None:
    first = save_text(model.parent / "first.txt", 2000)
    second = save_text(model.parent / "second.txt", 95, seed=1)
    result = calibrated(model, first, second)
    assert "calibrated on first.txt (text): 13 whole windows" in result.notes
    assert "calibrated on second.txt (text): 3 whole windows" in result.notes
    assert codes(result) != codes(calibrated(model, first))


def test_messages_without_a_template_are_refused(model: Path) -> None:
    file = model.parent / "a.jsonl"
    file.write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(TextError, match=r"a\.jsonl, line 1: messages, but .* no chat template"):
        calibrated(model, file)
    assert not (model.parent / "out").exists()


def test_the_mixture_that_comes_along_needs_no_template(model: Path) -> None:
    plain = calibrated(model)
    assert {record.tokens for record in plain.layers if record.tokens} == {480}
    chatting(model)
    assert codes(calibrated(model)) != codes(plain)


def test_fewer_tokens_than_columns_are_noted(model: Path) -> None:
    text = save_text(model.parent / "some.txt", 2000)
    note = "150 calibration tokens are fewer than the 160 columns of model.layers.0.mlp.down_proj"

    def noted(tokens: int, **changes: Any) -> list[str]:
        budget = Calibration(tokens=tokens, window=10)
        recipe = small("gptq", calibration=budget, **changes)
        out = model.parent / "out"
        result = tersor.quantize(model, out, recipe, calibration=[text], force=True)
        return [found for found in result.notes if "are fewer" in found]

    (said,) = noted(150)
    assert said.startswith(note)
    assert "--tokens" in said
    assert noted(160) == []
    assert noted(150, exclude=("down_proj",)) == []
