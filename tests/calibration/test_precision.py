"""What products are computed in, and that a machine does not change its mind."""

from pathlib import Path

import pytest
import torch

from tersor.calibration import precision as module
from tersor.calibration.precision import Precision

AMX = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16 amx_tile\n"
INTEL = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f avx512_bf16\n"
ZEN4 = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512f avx512_bf16\n"
ZEN2 = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2\n"


def test_what_is_asked_for_is_used() -> None:
    assert Precision.FLOAT32.dtype() is torch.float32
    assert Precision.BFLOAT16.dtype() is torch.bfloat16
    assert Precision.AUTO.dtype() is Precision.AUTO.dtype()


@pytest.mark.parametrize(
    ("cpuinfo", "dtype"),
    [
        (AMX, torch.bfloat16),
        (INTEL, torch.float32),
        (ZEN4, torch.bfloat16),
        (ZEN2, torch.float32),
        ("", torch.float32),
        (None, torch.float32),
    ],
    ids=["amx", "intel", "zen 4", "zen 2", "no flags", "no /proc"],
)
def test_bfloat16_only_where_it_is_faster(
    cpuinfo: str | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> str:
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read)
    module._fast_bfloat16.cache_clear()
    assert Precision.AUTO.dtype() is dtype
    module._fast_bfloat16.cache_clear()
