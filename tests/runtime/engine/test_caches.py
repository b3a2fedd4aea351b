"""Keys and values that a narrow type cannot hold."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tersor.machine.instructions import levels
from tersor.options.limits import CACHES
from tersor.runtime.engine.engine import Engine
from tiny_models import ODD, logits_of, tiny, tokens

TEXT = tokens(batch=1, length=70)[0].tolist()
MOST = {"float32": 1e-4, "float16": 2e-3, "int16": 1e-3, "bfloat16": 3e-2, "int8": 6e-2}


def saved(directory: Path, factor: float, family: str = "llama") -> torch.Tensor:
    """Keys and values times a factor that queries and outputs take back; the model's logits."""
    model: Any = tiny(family, **ODD[family])
    with torch.inference_mode():
        exact: torch.Tensor = model(torch.tensor([TEXT])).logits[0].clone()
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            attention.k_proj.weight *= factor
            attention.q_proj.weight /= factor
            attention.v_proj.weight *= factor
            attention.o_proj.weight /= factor
    model.save_pretrained(directory)
    return exact


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("factor", [2.0**-30, 1.0, 2.0**18, 2.0**40])
def test_large_and_small_keys_and_values(
    tmp_path: Path, factor: float, cache: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERSOR_ISA", level)
    exact = saved(tmp_path, factor)
    found = logits_of(Engine(tmp_path, activation_bits=16, cache=cache), TEXT)
    assert float((found - exact).abs().max() / exact.abs().max()) < MOST[cache]


def test_what_float16_holds_is_kept_as_before(tmp_path: Path) -> None:
    saved(tmp_path / "one", 1.0)
    saved(tmp_path / "large", 2.0**18)
    saved(tmp_path / "held", 2.0**5)
    found = {
        name: logits_of(Engine(tmp_path / name, activation_bits=16, cache="float16"), TEXT)
        for name in ("one", "large", "held")
    }
    # Powers of two change no bit of what is rounded, whether float16 holds them or a scale does.
    torch.testing.assert_close(found["large"], found["one"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found["held"], found["one"], rtol=0, atol=1e-5)
