import gc
import struct

import pytest
import torch
from safetensors.torch import save_file

from tersor.checkpoints.huggingface.safetensors_file import read_header

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.float8_e8m0fnu, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool, torch.complex64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(dtype, tmp_path):
    values = torch.arange(12).remainder(2).to(dtype).reshape(3, 4)
    tensors = {"matrix": values, "scalar": values[0, 1].clone(), "empty": values[:0].clone()}
    save_file(tensors, tmp_path / "a.safetensors")
    header = read_header(tmp_path / "a.safetensors")
    for name, expected in tensors.items():
        read = header[name].tensor()
        assert read.dtype == dtype
        assert read.shape == expected.shape
        assert read.tolist() == expected.tolist()


def test_unaligned_tensor_is_copied_to_an_aligned_place(tmp_path):
    # Other writers than the package need not pad the header to eight bytes.
    text = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} '
    text = text.ljust(len(text) + (5 - len(text)) % 8)
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<2f", 1.5, -2.0))
    stored = read_header(path)["a"]
    assert stored.offset % 4 != 0
    values = stored.tensor()
    assert values.tolist() == [1.5, -2.0]
    assert values.data_ptr() % 4 == 0


def test_a_small_tensor_does_not_keep_its_neighbours_mapped(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"large": torch.zeros(2**20), "small": torch.ones(4)}, path)
    header = read_header(path)
    large, small = header["large"].tensor(), header["small"].tensor()
    assert _mapped(path) == pytest.approx(4 * 2**20, abs=3 * 4096)
    del large
    gc.collect()
    assert _mapped(path) <= 2 * 4096
    assert small.sum() == 4
    del small
    gc.collect()
    assert _mapped(path) == 0


def _mapped(path):
    """Bytes of the address space that map ``path``."""
    total = 0
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
        for line in maps:
            if line.rstrip().endswith(str(path)):
                start, end = line.split(maxsplit=1)[0].split("-")
                total += int(end, 16) - int(start, 16)
    return total
