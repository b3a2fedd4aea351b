import struct

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gguf_files import finish, write_gguf
from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.gguf.values import all_values
from tersor.checkpoints.opening import open_source
from tersor.errors import SourceError, TersorError
from tiny_models import save_tiny


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gguf")
    save_tiny("llama", directory / "hf")
    metadata = {
        "tokenizer.ggml.tokens": ["a", "Ġ", "é"],
        "tokenizer.ggml.scores": [0.5, -1.0, 2.0],
        "general.flag": True,
        "general.number": -3.5,
    }
    return write_gguf(
        directory / "hf",
        directory / "m.gguf",
        kind=gguf.GGMLQuantizationType.Q8_0,
        metadata=metadata,
    )


def test_reads_what_ggufs_own_reader_reads(tiny_gguf):
    header, reader = read_gguf_header(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    for key, value in header.metadata.items():
        contents = reader.fields[key].contents()
        assert value == pytest.approx(contents) if isinstance(value, float) else value == contents
    assert [tensor.name for tensor in reader.tensors] == list(header.tensors)
    for tensor in reader.tensors:
        ours = header.tensors[tensor.name]
        assert ours.offset == tensor.data_offset
        assert ours.nbytes == tensor.n_bytes
        assert ours.shape == tuple(tensor.shape[::-1])
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(all_values(tiny_gguf, ours), expected)


def test_values_do_not_depend_on_how_many_rows_are_read_at_once(tiny_gguf, monkeypatch):
    tensor = read_gguf_header(tiny_gguf).tensors["blk.0.ffn_down.weight"]
    at_once = all_values(tiny_gguf, tensor)
    monkeypatch.setattr("tersor.checkpoints.gguf.values._VALUES_AT_ONCE", 3 * 160)
    assert np.array_equal(all_values(tiny_gguf, tensor), at_once)


def test_float32_is_read_as_the_shortest_decimal(tiny_gguf):
    assert read_gguf_header(tiny_gguf).number("attention.layer_norm_rms_epsilon") == 1e-6


def test_missing_file(tmp_path):
    with pytest.raises(SourceError, match=r"none\.gguf: no such file"):
        read_gguf_header(tmp_path / "none.gguf")


def test_wrong_magic(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGML" + bytes(100))
    with pytest.raises(SourceError, match=r"m\.gguf: not a GGUF file"):
        open_source(path)


def test_empty_file(tmp_path):
    path = tmp_path / "m.gguf"
    path.touch()
    with pytest.raises(SourceError, match="the header ends in the middle"):
        open_source(path)


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_unsupported_version_or_byte_order(version, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", version, 0, 0))
    with pytest.raises(SourceError, match=f"GGUF version {version} is not supported"):
        open_source(path)


def test_git_lfs_pointer(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    with pytest.raises(SourceError, match="git lfs pull"):
        open_source(path)


@pytest.mark.parametrize("keep", [0.01, 0.1, 0.5, 0.999])
def test_truncated_file(tiny_gguf, tmp_path, keep):
    data = tiny_gguf.read_bytes()
    path = tmp_path / "m.gguf"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SourceError, match="truncated"):
        open_source(path)


def test_tensor_outside_the_file(tiny_gguf, tmp_path):
    data = bytearray(tiny_gguf.read_bytes())
    field = gguf.GGUFReader(tiny_gguf).tensors[3].field
    end = field.offset + sum(int(part.nbytes) for part in field.parts)
    data[end - 8 : end] = struct.pack("<Q", 2**60)
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    name = gguf.GGUFReader(tiny_gguf).tensors[3].name
    with pytest.raises(SourceError, match=f"tensor '{name}' ends at byte"):
        open_source(path)


@pytest.mark.parametrize(
    ("tensors", "entries", "message"),
    [
        (1, 2**62, f"{2**62} metadata entries are more than 96 bytes hold"),
        (2**64 - 1, 1, f"{2**64 - 1} tensors are more than 96 bytes hold"),
        (4, 1, "4 tensors are more than 96 bytes hold"),
        (1, 1, f"a key of the metadata has {2**60} bytes, more than 65535"),
    ],
)
def test_lengths_that_would_fill_the_memory(tensors, entries, message, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(struct.pack("<4sIQQQ", b"GGUF", 3, tensors, entries, 2**60) + bytes(64))
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_file_that_shrinks_after_opening(tiny_gguf, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf.read_bytes())
    source = GGUFSource(path, torch.float32)
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(SourceError, match=r"changed while it was being read \(tensor 'output_norm"):
        source.read(["model.norm.weight"])


def test_split_file(tmp_path):
    path = tmp_path / "m-00001-of-00003.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint16("split.count", 3)
    with pytest.raises(SourceError, match="one of 3 parts of a split GGUF; merge them first"):
        open_source(finish(writer, path))


def test_no_architecture(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 0))
    with pytest.raises(SourceError, match=r"names no general\.architecture"):
        open_source(path)


def _string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def _file(path, *, entries=(), tensors=()):
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries) + 1)
    arch = _string("general.architecture") + struct.pack("<I", 8) + _string("llama")
    path.write_bytes(head + arch + b"".join(entries) + b"".join(tensors) + bytes(4096))
    return path


def _tensor(name, shape=(32,), kind=0, offset=0):
    return (
        _string(name)
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<IQ", kind, offset)
    )


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (_tensor("a", shape=(1, 1, 1, 1, 32)), "'a' has 5 dimensions"),
        (_tensor("a", shape=()), "'a' has 0 dimensions"),
        (_tensor("a", shape=(0, 2**62)), "'a' is empty"),
        (_tensor("a", kind=99), "'a' has the unknown type 99"),
        (_tensor("a", shape=(33,), kind=8), "'a' has rows of 33, not whole blocks"),
        (_tensor("a", shape=(2**62, 2**62)), "'a' ends at byte"),
    ],
)
def test_impossible_tensor(tensor, message, tmp_path):
    with pytest.raises(SourceError, match=message):
        read_gguf_header(_file(tmp_path / "m.gguf", tensors=[tensor]))


def test_tensor_named_twice(tmp_path):
    path = _file(tmp_path / "m.gguf", tensors=[_tensor("a"), _tensor("a")])
    with pytest.raises(SourceError, match="holds the tensor 'a' twice"):
        read_gguf_header(path)


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (96, "tensor 'b' overlaps 'a'; do not trust"),
        (0, "overlaps"),
        (130, "'b' begins at byte 130, no multiple of 32"),
    ],
)
def test_tensors_that_lie_on_each_other_or_beside_the_alignment(offset, message, tmp_path):
    tensors = [_tensor("b", offset=offset), _tensor("a")]
    with pytest.raises(SourceError, match=message):
        read_gguf_header(_file(tmp_path / "m.gguf", tensors=tensors))
    beside = [_tensor("b", offset=128), _tensor("a")]
    assert len(read_gguf_header(_file(tmp_path / "m.gguf", tensors=beside)).tensors) == 2


@pytest.mark.parametrize("count", [2**40, 2**63])
def test_a_vocabulary_that_is_longer_than_the_file(count, tmp_path):
    entry = _string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, count)
    with pytest.raises(SourceError, match=f"'tokenizer.ggml.tokens' needs {8 * count} bytes more"):
        read_gguf_header(_file(tmp_path / "m.gguf", entries=[entry]))
    entry = _string("tokenizer.ggml.tokens") + struct.pack("<IIQQ", 9, 8, 1, count)
    with pytest.raises(SourceError, match=f"'tokenizer.ggml.tokens' needs {count} bytes more"):
        read_gguf_header(_file(tmp_path / "m.gguf", entries=[entry]))


def test_block_sizes_are_those_of_the_gguf_package():
    theirs = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: (one.values, one.nbytes) for kind, one in BLOCK_TYPES.items()} == theirs
    assert all(
        gguf.GGMLQuantizationType(kind).name == one.name for kind, one in BLOCK_TYPES.items()
    )


@pytest.mark.parametrize("alignment", [0, 24])
def test_alignment_that_is_no_power_of_two(alignment, tmp_path):
    entry = _string("general.alignment") + struct.pack("<II", 4, alignment)
    with pytest.raises(SourceError, match=f"alignment is {alignment}, not a power of two"):
        read_gguf_header(_file(tmp_path / "m.gguf", entries=[entry]))


@pytest.mark.parametrize(
    "value",
    [struct.pack("<I", 13), struct.pack("<IIQ", 9, 9, 1), struct.pack("<IIQ", 9, 77, 1)],
)
def test_value_of_unknown_type(value, tmp_path):
    with pytest.raises(SourceError, match=r"'general\.x' .*unknown type"):
        read_gguf_header(_file(tmp_path / "m.gguf", entries=[_string("general.x") + value]))


def test_other_alignment_is_followed(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(256)
    values = np.arange(32, dtype=np.float32)
    writer.add_tensor("a", values)
    writer.add_tensor("b", -values)
    header = read_gguf_header(finish(writer, path))
    assert header.tensors["b"].offset % 256 == 0
    assert np.array_equal(all_values(path, header.tensors["b"]), -values)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_never_anything_else(tiny_gguf, tmp_path, data):
    content = bytearray(tiny_gguf.read_bytes())
    header_end = gguf.GGUFReader(tiny_gguf).data_offset
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header_end - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    message = ""
    try:
        source = GGUFSource(path)
        source.read(source.tensors)
    except TersorError as error:
        message = str(error)
    assert "\n" not in message
