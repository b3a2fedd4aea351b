"""Keywords of transformers' ``from_pretrained``: handed on, or refused with the reason."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tersor
from tersor.errors import OptionError
from tiny_models import save_tiny

IDS = torch.tensor([[1, 5, 2, 7]])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("load")
    save_tiny("llama", root / "model")
    tersor.quantize(root / "model", root / "w4", group_size=16)
    return root


def logits(directory: Path, **keywords: Any) -> torch.Tensor:
    with torch.inference_mode():
        return tersor.load(directory, **keywords)(IDS).logits


@pytest.mark.parametrize("name", ["model", "w4"])
def test_keywords_reach_transformers(name: str, places: Path) -> None:
    plain = logits(places / name)
    for device_map in ("cpu", "auto", {"": "cpu"}):
        assert torch.equal(logits(places / name, device_map=device_map), plain)
    model = tersor.load(places / name, attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(model(IDS).logits, plain)


def test_what_is_given_stays_as_it_was(places: Path) -> None:
    memory = {"cpu": "1GB"}
    logits(places / "model", device_map="auto", max_memory=memory)
    assert memory == {"cpu": "1GB"}


def test_types_by_name(places: Path) -> None:
    for dtype in ("bfloat16", "torch.bfloat16", torch.bfloat16):
        assert tersor.load(places / "model", dtype=dtype).dtype == torch.bfloat16
    stored = tersor.load(places / "model", dtype="bfloat16")
    stored.save_pretrained(places / "bf16")
    assert tersor.load(places / "bf16").dtype == torch.float32
    assert tersor.load(places / "bf16", dtype="auto").dtype == torch.bfloat16


def test_weights_on_the_disk(places: Path, tmp_path: Path) -> None:
    there = {"device_map": {"": "disk"}, "offload_folder": str(tmp_path / "off")}
    plain = logits(places / "w4", kernels=False)
    assert torch.equal(logits(places / "w4", kernels=False, **there), plain)
    with pytest.raises(
        OptionError, match=r"device_map puts .* on the disk, and native kernels run"
    ):
        logits(places / "w4", **there)


@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ({"trust_remote_code": True}, "code of a checkpoint is never run"),
        ({"quantization_config": None}, "the directory says how it is quantized"),
        ({"torch_dtype": torch.float16}, "it is called dtype"),
        ({"revision": "main"}, "nothing is looked for outside"),
        ({"attn_implementation": "owner/kernel"}, "it is fetched"),
        ({"attn_implementation": {"text_config": "owner/kernel"}}, "it is fetched"),
        ({"devise_map": "cpu"}, "did you mean 'device_map'"),
        ({"use_cache": False}, "is no keyword of load; fields of the config"),
        ({"dtype": "float33"}, "must be torch.float32 or another float type"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_conflicts_are_refused_before_anything_is_opened(
    keywords: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(keywords))} .*{why}"):
        tersor.load(tmp_path / "nowhere", **keywords)
