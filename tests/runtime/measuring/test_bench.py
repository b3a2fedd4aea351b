"""What is counted, not how fast it is."""

import json
from pathlib import Path

import pytest

from tersor.errors import OptionError
from tersor.options import limits
from tersor.runtime.engine.engine import Engine
from tersor.runtime.measuring.bench import Timing, time_engine
from tiny_models import save_tiny


def test_a_bench_counts(tmp_path: Path) -> None:
    model = save_tiny("llama", tmp_path)
    found = time_engine(Engine(tmp_path, batch=2), Timing(20, 4, repetitions=2, batch=2))
    assert len(found.prefill) == len(found.decode) == 2
    weights = {n: p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n}
    blocks = sum(p.numel() for n, p in weights.items() if "lm_head" not in n)
    assert found.products_per_token == blocks
    assert found.bytes_per_token == 4 * sum(p.numel() for p in weights.values())
    document = found.to_dict()
    assert document["prefill"] == [round(rate, 2) for rate in found.prefill]
    assert document["threads"] == found.threads > 0
    assert document["activation_bits"] == 8
    assert document["cache"] in limits.CACHES
    assert {"instructions", "context", "versions"} <= document.keys()
    assert json.loads(json.dumps(document)) == document
    assert (document["model"], document["recipe"]) == (str(tmp_path), None)
    assert document["peak_bandwidth"] > 0 < document["peak_products"]


def test_a_context_too_short(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    with pytest.raises(OptionError, match="context of 16 has no room"):
        time_engine(Engine(tmp_path, context=16), Timing(20, 4))
