"""`tersor check`: one line for each thing that is wrong."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tersor
from gguf_files import write_gguf
from tersor.cli.main import run
from tersor.formats import known_formats
from tersor.pipeline.exchange.convert import convert
from tiny_models import save_tiny, save_tokenizer, tiny

Q8 = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny("llama").to(torch.bfloat16).save_pretrained(home / "model")
    save_tokenizer(home / "model")
    tersor.quantize(home / "model", home / "w4", "w4", group_size=32)
    for name in ("gptq", "awq"):
        convert(home / "w4", home / name, known_formats().named(name))
    return home


def damaged(
    path: Path, out: Path, change: Callable[[dict[str, Tensor]], None], **settings: object
) -> Path:
    """A copy with other tensors, and other settings of its description."""
    out.mkdir()
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] |= settings
    (out / "config.json").write_text(json.dumps(config))
    return out


@pytest.mark.parametrize("name", ["model", "w4", "gptq", "awq"])
def test_sound_ones(made: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = tersor.check(made / name)
    assert (found.sound, found.problems) == (True, ())
    assert run(["check", str(made / name)]) == 0
    assert capsys.readouterr().out.startswith("sound: ")


def test_every_damage_has_a_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = "model.layers.0.mlp.down_proj"

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[f"{layer}.qweight"] = tensors[f"{layer}.qweight"].T.contiguous()
        tensors["model.layers.1.mlp.down_proj.scales"][0, 0] = torch.inf
        other = "model.layers.1.self_attn.q_proj.g_idx"
        tensors[other] = torch.zeros_like(tensors[other])
        tensors["model.norm.weight"][3] = torch.nan
        del tensors["model.layers.1.self_attn.k_proj.qzeros"]

    broken = damaged(made / "gptq", tmp_path / "broken", change)
    found = tersor.check(broken).problems
    assert len(found) == 5
    for words in (
        f"{layer}.qzeros is",
        "model.layers.1.mlp.down_proj.scales holds NaN or infinity",
        "q_proj.g_idx is no permutation of groups",
        "k_proj.qzeros is missing",
        "tensor model.norm.weight holds NaN",
    ):
        assert any(words in one for one in found), words
    assert run(["check", str(broken)]) == 1
    assert capsys.readouterr().out.splitlines() == list(found)
    assert run(["check", str(broken), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == list(found)


def test_a_wrong_group_size(made: Path, tmp_path: Path) -> None:
    broken = damaged(made / "awq", tmp_path / "broken", lambda tensors: None, group_size=64)
    found = tersor.check(broken).problems
    assert len(found) == 14
    assert all("needs" in one for one in found)


def test_gguf_files(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "hf")
    sound = write_gguf(tmp_path / "hf", tmp_path / "sound.gguf", kind=Q8)
    assert tersor.check(sound).sound
    data = bytearray(sound.read_bytes())
    reader = gguf.GGUFReader(sound)
    for tensor, bits in ((reader.tensors[3], 0x7C00), (reader.tensors[5], 0xFE00)):
        data[tensor.data_offset : tensor.data_offset + 2] = np.uint16(bits).tobytes()
    (tmp_path / "broken.gguf").write_bytes(data)
    found = tersor.check(tmp_path / "broken.gguf").problems
    assert len(found) == 2
    assert all("(Q8_0) holds NaN or infinity" in one for one in found)
    (tmp_path / "short.gguf").write_bytes(bytes(data[:-999]))
    *short, one, two = tersor.check(tmp_path / "short.gguf").problems
    assert len(short) == 2
    assert all("the file is truncated" in one for one in short)
    values = (one, two)
    assert all("(Q8_0) holds NaN or infinity" in one for one in values)


@dataclass
class Places:
    """A sound file, and where the header says type, columns, offset of each tensor."""

    data: bytearray
    reader: gguf.GGUFReader

    def at(self, number: int, part: int) -> int:
        """Where a part of a tensor's entry begins: 0 length, 1 name, 2 dimensions, 3 shape, …."""
        field = self.reader.tensors[number].field
        return int(field.offset + sum(one.nbytes for one in field.parts[:part]))

    def name(self, number: int) -> str:
        return str(self.reader.tensors[number].name)

    def put(self, place: int, form: str, *values: int) -> None:
        struct.pack_into(f"<{form}", self.data, place, *values)

    def problems(self, path: Path) -> tuple[str, ...]:
        path.write_bytes(self.data)
        return tersor.check(path).problems


_LENGTH, _DIMENSIONS, _SHAPE, _TYPE, _OFFSET = 0, 2, 3, 4, 5


@pytest.fixture
def places(tmp_path: Path) -> Places:
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "sound.gguf", kind=Q8)
    return Places(bytearray(path.read_bytes()), gguf.GGUFReader(path))


def test_all_that_is_wrong_with_tensors_of_a_gguf(places: Places, tmp_path: Path) -> None:
    matrices = [n for n, one in enumerate(places.reader.tensors) if one.tensor_type == Q8]
    unknown, empty, ragged, beyond, misaligned, overlapping, infinite = matrices[:7]
    before = overlapping - 1
    offsets = [int(one.data_offset) for one in places.reader.tensors]
    start = int(places.reader.data_offset)
    places.put(places.at(unknown, _TYPE), "I", 99)
    places.put(places.at(empty, _SHAPE), "Q", 0)
    places.put(places.at(ragged, _SHAPE), "Q", 33)
    places.put(places.at(beyond, _OFFSET), "Q", 2**50)
    odd = offsets[misaligned] - start + 1
    places.put(places.at(misaligned, _SHAPE), "Q", 32)
    places.put(places.at(misaligned, _OFFSET), "Q", odd)
    places.put(places.at(overlapping, _OFFSET), "Q", offsets[before] - start)
    places.put(offsets[infinite], "H", 0x7C00)
    found = places.problems(tmp_path / "broken.gguf")
    (columns, rows) = (int(one) for one in places.reader.tensors[empty].shape)
    assert columns
    assert found[:3] == (
        f"tensor {places.name(unknown)!r} has the unknown type 99",
        f"tensor {places.name(empty)!r} is empty (shape ({rows}, 0))",
        f"tensor {places.name(ragged)!r} has rows of 33, not whole blocks of 32 (Q8_0); "
        "download it again",
    )
    end = start + 2**50 + int(places.reader.tensors[beyond].n_bytes)
    assert found[3] == (
        f"tensor {places.name(beyond)!r} ends at byte {end} of {len(places.data)}: "
        "the file is truncated, download it again"
    )
    assert sorted(found[4:6]) == sorted(
        (
            f"tensor {places.name(misaligned)!r} begins at byte {odd}, no multiple of 32; "
            "do not trust this file",
            f"tensor {places.name(overlapping)!r} overlaps {places.name(before)!r}; "
            "do not trust this file",
        )
    )
    assert found[6:] == (f"tensor {places.name(infinite)!r} (Q8_0) holds NaN or infinity",)


def test_every_tensor_that_is_cut_off_has_a_line(places: Places, tmp_path: Path) -> None:
    cut = int(places.reader.tensors[-3].data_offset) + 1
    del places.data[cut:]
    found = places.problems(tmp_path / "short.gguf")
    assert [one.partition(" ends at byte ")[0] for one in found] == [
        f"tensor {places.name(n)!r}" for n in (-3, -2, -1)
    ]
    assert all(f" of {cut}: the file is truncated" in one for one in found)


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (8, 2**40, f"{2**40} tensors are more than"),
        (16, 2**63, f"{2**63} metadata entries are more than"),
        (24, 2**32, f"a key of the metadata has {2**32} bytes, more than 65535"),
    ],
)
def test_absurd_counts_and_lengths(
    places: Places, tmp_path: Path, place: int, number: int, message: str
) -> None:
    places.put(place, "Q", number)
    (only,) = places.problems(tmp_path / "broken.gguf")
    assert only.startswith(message)


def test_what_comes_before_an_end_of_the_header_is_named_too(
    places: Places, tmp_path: Path
) -> None:
    places.put(places.at(1, _TYPE), "I", 77)
    places.put(places.at(4, _LENGTH), "Q", 2**61)
    found = places.problems(tmp_path / "broken.gguf")
    assert len(found) == 2
    assert found[0] == f"tensor {places.name(1)!r} has the unknown type 77"
    assert found[1].startswith(f"the name of a tensor has {2**61} bytes")
    places.put(places.at(2, _DIMENSIONS), "I", 2**31)
    found = places.problems(tmp_path / "broken.gguf")
    assert found[1:] == (f"tensor {places.name(2)!r} has {2**31} dimensions",)


def test_a_file_that_is_called_gguf_and_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.gguf").write_text("what I meant to remember")
    (only,) = tersor.check(tmp_path / "notes.gguf").problems
    assert only == "not a GGUF file (it does not begin with 'GGUF')"
