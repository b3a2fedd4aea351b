"""Native attention against torch's, and that it is used only where it is the same thing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calibrating import threads
from tersor import _native
from tersor.calibration.attention import attention
from tersor.machine.instructions import levels


def inputs(length: int, heads: int = 6, key_heads: int = 2, size: int = 24) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    return [
        torch.randn(2, count, length, size, generator=generator)
        for count in (heads, key_heads, key_heads)
    ]


def module(groups: int = 3) -> nn.Module:
    made = nn.Module()
    made.num_key_value_groups = groups  # type: ignore[assignment]
    made.is_causal = True  # type: ignore[assignment]
    return made


def expected(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    found = nn.functional.scaled_dot_product_attention(
        query, key, value, enable_gqa=True, **options
    )
    return found.transpose(1, 2)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("length", [1, 5, 63, 64, 65, 200])
def test_it_is_causal_attention(level: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_ISA", level)
    query, key, value = inputs(length)
    found, _ = attention(module(), query, key, value, None, scaling=0.3)
    exact = expected(*(x.double() for x in (query, key, value)), is_causal=True, scale=0.3)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)


def test_bfloat16_is_attended_in_float32() -> None:
    query, key, value = (x.bfloat16() for x in inputs(70))
    found, _ = attention(module(), query, key, value, None)
    exact = expected(query.float(), key.float(), value.float(), is_causal=True)
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-6)


def test_under_autocast_it_has_the_type_of_products() -> None:
    query, key, value = inputs(70)
    found, _ = attention(module(), query, key, value, None)
    with torch.autocast("cpu", torch.bfloat16):
        narrow, _ = attention(module(), query, key, value, None)
    assert narrow.dtype is torch.bfloat16
    assert torch.equal(narrow, found.bfloat16())


def test_what_is_not_plain_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "causal_attention", None)  # must not be called
    query, key, value = inputs(20)
    mask = torch.rand(2, 1, 20, 20) > 0.3
    mask |= torch.eye(20, dtype=torch.bool)
    found, _ = attention(module(), query, key, value, mask)
    repeated = (key.repeat_interleave(3, 1), value.repeat_interleave(3, 1))
    torch.testing.assert_close(found, expected(query, *repeated, attn_mask=mask))
    for trained in (0, 1, 2):
        given = [x.clone().requires_grad_(i == trained) for i, x in enumerate((query, key, value))]
        found, _ = attention(module(), *given, None)
        assert found.requires_grad
    both_ways, _ = attention(module(), query.detach(), key, value, None, is_causal=False)
    torch.testing.assert_close(both_ways, expected(query.detach(), key, value))


def test_nan_stays_where_it_is_seen() -> None:
    query, key, value = inputs(40)
    value[0, 0, 30, 3] = torch.nan
    found, _ = attention(module(), query, key, value, None)
    assert bool(found[0, 30:, :3, 3].isnan().all())
    assert int(found.isnan().sum()) == 10 * 3


def test_threads_change_nothing() -> None:
    query, key, value = inputs(90)
    found = []
    for count in (1, 2):
        with threads(count):
            found.append(attention(module(), query, key, value, None)[0])
    assert torch.equal(*found)
