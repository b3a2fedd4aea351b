"""One block in memory, and nothing that the model does not compute itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny_models
from every_architecture import save_every
from tersor.calibration.attention import use_native_attention
from tersor.calibration.blocks import BlockCall, Visit, cut
from tersor.calibration.computed_buffers import fill_computed_buffers
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.describing import describe


def decoder_of(source: Source) -> Decoder:
    shapes = {name: info.shape for name, info in source.tensors.items()}
    return Decoder(source, describe(source.config, shapes))


def walk(decoder: Decoder, tokens: torch.Tensor, visit: Visit, *, rows: int) -> torch.Tensor:
    memory = ActivationMemory(1 << 30)
    return torch.cat(list(decoder.walk(tokens, visit, rows=rows, memory=memory)))


def run(call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
    return call.run(hidden, hidden)


def in_memory(blocks: nn.ModuleList) -> list[int]:
    return [
        index
        for index, block in enumerate(blocks)
        if any(not tensor.is_meta for tensor in block.state_dict().values())
    ]


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_the_final_norms_output_is_the_models(family: str, tmp_path: Path) -> None:
    model: Any = tiny_models.save_tiny(family, tmp_path)
    tokens = tiny_models.tokens(batch=3)
    found = walk(decoder_of(open_source(tmp_path)), tokens, run, rows=2)
    use_native_attention(model)
    with torch.no_grad():
        expected = model.base_model(tokens, use_cache=False).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_pieces_do_not_share_what_blocks_hand_each_other(tmp_path: Path) -> None:
    """Keys and values of other blocks, of the same windows: in what is no dict by its type."""
    model: Any = save_every("gemma3n_text", tmp_path / "model")
    tokens = tiny_models.tokens(batch=3)
    calls: list[BlockCall] = []

    def visit(call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
        calls.append(call)
        return run(call, hidden)

    found = walk(decoder_of(open_source(tmp_path / "model")), tokens, visit, rows=1)
    assert all(call.shares for call in calls)
    use_native_attention(model)
    with torch.no_grad():
        expected = model.base_model(tokens, use_cache=False).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_one_block_at_a_time(tmp_path: Path) -> None:
    tiny_models.save_tiny("llama", tmp_path, num_hidden_layers=4)
    decoder = decoder_of(open_source(tmp_path))
    seen: list[tuple[list[int], bool]] = []

    def visit(call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
        seen.append((in_memory(decoder.blocks), call.index == len(seen)))
        assert not any(tensor.is_meta for tensor in call.block.state_dict().values())
        output = run(call, hidden)
        assert in_memory(decoder.blocks) == [call.index]
        return output

    walk(decoder, tiny_models.tokens(), visit, rows=2)
    assert seen == [([0], True), ([1], True), ([2], True), ([3], True)]
    assert in_memory(decoder.blocks) == []


def test_the_head_is_never_read(tmp_path: Path) -> None:
    tiny_models.save_tiny("llama", tmp_path)
    source = open_source(tmp_path)
    read: list[str] = []

    class Watched:
        path, config, tensors = source.path, source.config, source.tensors
        copy_companions = source.copy_companions

        def read(self, names: Any) -> Any:
            names = list(names)
            read.extend(names)
            return source.read(names)

    walk(decoder_of(Watched()), tiny_models.tokens(), run, rows=4)
    assert sorted(set(read)) == sorted(source.tensors.keys() - {"lm_head.weight"})


def test_a_failure_empties_the_block(tmp_path: Path) -> None:
    tiny_models.save_tiny("llama", tmp_path)
    decoder = decoder_of(open_source(tmp_path))

    def visit(call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
        raise SourceError("enough")

    with pytest.raises(SourceError, match="enough"):
        walk(decoder, tiny_models.tokens(), visit, rows=4)
    assert in_memory(decoder.blocks) == []
    assert "forward" not in vars(decoder.blocks[0])


def test_a_buffer_that_nobody_computes_is_refused(tmp_path: Path) -> None:
    tiny_models.save_tiny("llama", tmp_path)
    source = open_source(tmp_path)
    module = decoder_of(source).module
    module.register_buffer("forgotten", torch.zeros(3, device="meta"), persistent=False)
    with pytest.raises(SourceError, match="leaves the buffer forgotten"):
        fill_computed_buffers(module.to("meta"), source)


def test_only_what_has_a_batch_axis_iscut() -> None:
    mask, positions, anybatch = torch.zeros(4, 1, 4, 4), torch.arange(4), torch.zeros(1, 4, 2)
    kwargs = {"mask": mask, "positions": positions, "rope": (anybatch, anybatch), "cache": None}
    found = cut({"nested": kwargs}, 4, slice(1, 3))["nested"]
    assert found["mask"].shape == (2, 1, 4, 4)
    assert found["positions"] is positions
    assert found["rope"][1] is anybatch
    assert found["cache"] is None
