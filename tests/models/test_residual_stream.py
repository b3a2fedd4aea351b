"""Who writes the residual stream, and what its norms do, against transformers' arithmetic."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import tiny_models
from tersor.families.blocks import canonical
from tersor.models.experts import fuse


def hidden_states(checkpoint: Any, changed: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """What enters block 0, what enters block 1."""
    model = copy.deepcopy(checkpoint.model)
    in_memory = fuse(checkpoint.architecture, {**checkpoint.published(), **changed})
    blocks = {n: t for n, t in in_memory.items() if checkpoint.architecture.block_of(n) is not None}
    assert not model.load_state_dict(blocks, strict=False).unexpected_keys
    with torch.no_grad():
        states: tuple[torch.Tensor, ...] = model(
            tiny_models.tokens(), output_hidden_states=True
        ).hidden_states
    return states[:2]


def writers_of_block_0(checkpoint: Any) -> list[str]:
    """Weights and biases."""
    stems = [
        name.removesuffix(".weight")
        for name in checkpoint.published()
        if checkpoint.architecture.split(name)[0] == 0
        and canonical(checkpoint.architecture.split(name)[1]) in checkpoint.architecture.writers
    ]
    names = [f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")]
    return [name for name in names if name in checkpoint.published()]


def test_a_block_whose_writers_are_zero_passes_its_input_on(checkpoint: Any) -> None:
    if not checkpoint.config.get("do_layer_norm_before", True):
        pytest.skip("the norm after the sum changes the residual stream itself")
    published = checkpoint.published()
    silent = {name: torch.zeros_like(published[name]) for name in writers_of_block_0(checkpoint)}
    before, after = hidden_states(checkpoint, silent)
    assert torch.equal(before, after)
    for name in silent:
        one = {other: tensor for other, tensor in silent.items() if other != name}
        before, after = hidden_states(checkpoint, one)
        assert not torch.equal(before, after), name


def test_centred_norms_are_those_that_do_not_see_a_constant(checkpoint: Any) -> None:
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    norms = [
        module
        for name, module in checkpoint.model.named_modules()
        if name.endswith(("norm", "ln_1", "ln_2", "ln_f"))
        and not name.endswith(("q_norm", "k_norm"))
    ]
    assert norms
    for norm in norms:
        with torch.no_grad():
            blind = torch.allclose(norm(x), norm(x + 5), atol=1e-4)
        assert blind == checkpoint.architecture.centred


def test_positions_are_the_learned_ones(checkpoint: Any) -> None:
    learned = {
        f"{name}.weight"
        for name, module in checkpoint.model.named_modules()
        if isinstance(module, nn.Embedding)
        and module is not checkpoint.model.get_input_embeddings()
    }
    positions = checkpoint.architecture.positions
    assert learned == ({positions} if positions else set())
    assert positions is None or positions in checkpoint.tensors


def test_sandwich_is_where_a_norm_reads_what_a_writer_wrote(checkpoint: Any) -> None:
    # Doubling the last linear of a block doubles its contribution, unless a norm comes after it.
    architecture, published = checkpoint.architecture, checkpoint.published()
    if not checkpoint.config.get("do_layer_norm_before", True):
        pytest.skip("the norm after the sum changes the residual stream itself")
    names = writers_of_block_0(checkpoint)
    silent = {name: torch.zeros_like(published[name]) for name in names}
    last = {
        name: published[name] for name in names if "attn" not in name and "attention" not in name
    }
    grown = []
    for factor in (1.0, 2.0):
        before, after = hidden_states(
            checkpoint, {**silent, **{n: t * factor for n, t in last.items()}}
        )
        grown.append(after - before)
    assert torch.allclose(grown[1], 2 * grown[0], atol=1e-4) != architecture.sandwich
