"""Places in a file, against the package that reads such files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tersor.checkpoints.output.layout import Layout
from tersor.checkpoints.source import TensorInfo

TYPES = [
    *(torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.uint8, torch.bool),
    *(torch.int64, torch.int32, torch.float8_e4m3fn, torch.float64, torch.int16),
]


@pytest.mark.parametrize("metadata", [{}, {"format": "pt", "ä": '"'}])
def test_every_type_is_found_at_its_place(metadata: dict[str, str], tmp_path: Path) -> None:
    infos = [TensorInfo(f"t{i}", dtype, (i % 3, 5)) for i, dtype in enumerate(TYPES)]
    layout = Layout(infos, metadata)
    data = bytearray(layout.size)
    data[: len(layout.header)] = layout.header
    for number, info in enumerate(infos):
        at = layout.offsets[info.name]
        assert at % info.dtype.itemsize == 0
        data[at : at + info.nbytes] = bytes([number % 2]) * info.nbytes
    (tmp_path / "file").write_bytes(data)
    with safe_open(tmp_path / "file", "pt") as file:
        assert (file.metadata() or {}) == metadata
        for number, info in enumerate(infos):
            found = file.get_tensor(info.name)
            assert (found.dtype, tuple(found.shape)) == (info.dtype, info.shape)
            bytes_ = found.reshape(-1).view(torch.uint8)
            assert bytes_.tolist() == [number % 2] * info.nbytes


def test_the_order_of_metadata_does_not_matter() -> None:
    infos = [TensorInfo("a", torch.int8, (3,))]
    one, other = (Layout(infos, dict(pairs)) for pairs in ([("a", "1"), ("b", "2")],) * 2)
    assert one.header == other.header == Layout(infos, {"b": "2", "a": "1"}).header
    assert len(one.header) % 8 == 0
    assert list(json.loads(one.header[8:]))[1] == "a"
