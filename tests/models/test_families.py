"""Every table against the modules and the arithmetic of transformers."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import tiny_models
from tersor.models.architecture import Role
from tersor.models.experts import fuse, unfused_shapes
from tersor.models.folding import fold
from tersor.models.pairs import Pair, input_groups, pairs

# Pairs of block 0: norm → q,k,v; v → o; norm → gate,up; up → down (of each expert), where allowed.
EXPECTED_PAIRS = {
    "llama": 4,
    "mistral": 4,
    "qwen2": 4,
    "qwen3": 4,
    "gemma2": 4,
    "gemma3_text": 4,
    "phi3": 4,
    "opt": 4,
    "gpt2": 3,
    "gpt_neox": 3,
    "mixtral": 3 + 4,
    "qwen3_moe": 3 + 4,
    "llama-biases": 4,
    "llama-tied": 4,
    "phi3-one-kv-head": 4,
    "opt-post-norm": 2,
    "opt-gelu": 3,
    "opt-bare-norms": 2,
    "gpt2-relu": 4,
    "gpt_neox-relu": 4,
    "gpt_neox-sequential": 3,
    "mixtral-fused": 3 + 4,
    "qwen3_moe-fused": 3 + 4,
    "qwen3_moe-one-dense": 4,
}


def block_linears(model: nn.Module, container: str) -> set[str]:
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if name.startswith(f"{container}.")
        and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
    }


def test_linears_are_exactly_the_linear_modules_of_the_blocks(checkpoint: Any) -> None:
    architecture = checkpoint.architecture
    linears = {
        name
        for name, shape in checkpoint.shapes.items()
        if architecture.role(name, shape) is Role.LINEAR
    }
    experts = {name for name in linears if ".experts." in name}
    assert linears - experts == block_linears(checkpoint.model, architecture.container)
    assert architecture.known
    assert architecture.note == ""


def test_matrices_of_experts_are_all_found(checkpoint: Any) -> None:
    architecture = checkpoint.architecture
    in_memory = {
        name: parameter.shape
        for name, parameter in checkpoint.model.named_parameters()
        if ".experts." in name
    }
    found = {
        name: shape
        for name, tensor in checkpoint.tensors.items()
        for name, shape in unfused_shapes(architecture, name, tuple(tensor.shape)).items()
        if ".experts." in name
    }
    assert all(architecture.role(name, shape) is Role.LINEAR for name, shape in found.items())
    assert sum(r * c for r, c in found.values()) == sum(
        shape.numel() for shape in in_memory.values()
    )
    assert len(found) == sum(
        shape[0] * (2 if "gate_up" in name else 1) for name, shape in in_memory.items()
    )


def test_embedding_head_and_final_norm(checkpoint: Any) -> None:
    architecture, model = checkpoint.architecture, checkpoint.model
    embedding = checkpoint.tensors[architecture.embedding]
    assert torch.equal(embedding, model.get_input_embeddings().weight)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert architecture.tied == tied
    if tied:
        assert architecture.head is None
    else:
        head = checkpoint.tensors[architecture.head]
        assert torch.equal(head, model.get_output_embeddings().weight)
        assert architecture.role(architecture.head, tuple(head.shape)) is Role.HEAD
    assert architecture.role(architecture.embedding, tuple(embedding.shape)) is Role.EMBEDDING
    if checkpoint.config.get("do_layer_norm_before", True) and checkpoint.config.get(
        "layer_norm_elementwise_affine", True
    ):
        assert checkpoint.tensors[architecture.final_norm].shape == (64,)


def test_blocks(checkpoint: Any) -> None:
    architecture = checkpoint.architecture
    assert architecture.blocks == 2
    blocks = {architecture.block_of(name) for name in checkpoint.tensors}
    assert blocks == {None, 0, 1}
    assert architecture.block_of(architecture.embedding) is None


def test_transposed_linears_are_those_of_conv1d(checkpoint: Any) -> None:
    architecture = checkpoint.architecture
    modules = dict(checkpoint.model.named_modules())
    for name in block_linears(checkpoint.model, architecture.container):
        module = modules[name.removesuffix(".weight")]
        assert architecture.is_transposed(name) == (type(module).__name__ == "Conv1D")


# --- pairs ---------------------------------------------------------------------------------------


def all_pairs(checkpoint: Any) -> Iterator[Pair]:
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.published().items()}
    for block in range(checkpoint.architecture.blocks):
        yield from pairs(checkpoint.architecture, shapes, block)


def change_of_logits(checkpoint: Any, changed: dict[str, torch.Tensor]) -> float:
    """max |Δ logits| / max |logits| after writing ``changed`` (published names) into the model."""
    ids = tiny_models.tokens()
    model = copy.deepcopy(checkpoint.model)
    in_memory = fuse(checkpoint.architecture, {**checkpoint.published(), **changed})
    blocks = {n: t for n, t in in_memory.items() if checkpoint.architecture.block_of(n) is not None}
    assert not model.load_state_dict(blocks, strict=False).unexpected_keys
    with torch.no_grad():
        before, after = checkpoint.model(ids).logits, model(ids).logits
    return float((after - before).abs().max() / before.abs().max())


def random_scale(pair: Pair, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 1.5 * torch.rand(pair.channels, generator=generator)


def test_expected_number_of_pairs(request: pytest.FixtureRequest, checkpoint: Any) -> None:
    case = request.node.callspec.params["checkpoint"]
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.published().items()}
    assert len(pairs(checkpoint.architecture, shapes, block=0)) == EXPECTED_PAIRS[case]


def test_folding_a_pair_keeps_the_logits(checkpoint: Any) -> None:
    tensors = checkpoint.published()
    for pair in all_pairs(checkpoint):
        folded = fold(tensors, pair, random_scale(pair))
        assert change_of_logits(checkpoint, folded) <= 1e-4, pair.producer


def test_folding_half_a_pair_changes_the_logits(checkpoint: Any) -> None:
    # Every tensor of a pair in turn is left as it was: each of them must matter.
    tensors = checkpoint.published()
    for pair in all_pairs(checkpoint):
        folded = fold(tensors, pair, random_scale(pair))
        for left_out in folded:
            half = {name: tensor for name, tensor in folded.items() if name != left_out}
            assert change_of_logits(checkpoint, half) > 1e-3, left_out


def test_folding_all_pairs_at_once_keeps_the_logits(checkpoint: Any) -> None:
    tensors = checkpoint.published()
    for seed, pair in enumerate(all_pairs(checkpoint)):
        tensors |= fold(tensors, pair, random_scale(pair, seed))
    assert change_of_logits(checkpoint, tensors) <= 1e-4


# --- shared inputs -------------------------------------------------------------------------------


class LinearInputs(TorchFunctionMode):
    """Records what every linear reads, by the address of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.by_weight: dict[int, torch.Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is nn.functional.linear:
            self.by_weight[args[1].data_ptr()] = args[0]
        if func is torch.addmm:
            self.by_weight[args[2].data_ptr()] = args[1]
        return func(*args, **(kwargs or {}))


def recorded_inputs(checkpoint: Any) -> dict[str, torch.Tensor]:
    """Published name of every matrix in the blocks → what it read, as rows ``(tokens, in)``."""
    with torch.no_grad(), LinearInputs() as recorder:
        checkpoint.model(tiny_models.tokens())
    return {
        part: recorder.by_weight[address].flatten(0, -2)
        for name, parameter in checkpoint.model.named_parameters()
        for part, address in weight_addresses(checkpoint.architecture, name, parameter)
        if address in recorder.by_weight
    }


def weight_addresses(
    architecture: Any, name: str, parameter: torch.Tensor
) -> Iterator[tuple[str, int]]:
    """Published name → address of the weight in its product; gate and up are one product."""
    parts = list(unfused_shapes(architecture, name, tuple(parameter.shape)))
    matrices = parameter if parameter.ndim == 3 else [parameter]
    per_matrix = len(parts) // len(matrices)
    for i, part in enumerate(parts):
        yield part, matrices[i // per_matrix].data_ptr()


def test_linears_of_a_group_read_the_same_rows_and_other_groups_do_not(checkpoint: Any) -> None:
    inputs = recorded_inputs(checkpoint)
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.published().items()}
    for block in range(checkpoint.architecture.blocks):
        groups = input_groups(checkpoint.architecture, shapes, block)
        firsts = [inputs[group[0]] for group in groups]
        for group, first in zip(groups, firsts, strict=True):
            assert all(torch.equal(inputs[name], first) for name in group)
        for i, first in enumerate(firsts):
            assert not any(torch.equal(first, other) for other in firsts[i + 1 :])


def test_groups_cover_every_linear_once(checkpoint: Any) -> None:
    architecture = checkpoint.architecture
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.published().items()}
    grouped = [
        name
        for block in range(architecture.blocks)
        for group in input_groups(architecture, shapes, block)
        for name in group
    ]
    linears = [n for n, shape in shapes.items() if architecture.role(n, shape) is Role.LINEAR]
    assert sorted(grouped) == sorted(linears)


def test_experts_and_router_read_rows_of_one_tensor(checkpoint: Any) -> None:
    inputs = recorded_inputs(checkpoint)
    for pair in all_pairs(checkpoint):
        for listener in pair.listeners:
            everything = inputs[listener]
            for consumer in pair.consumers:
                differs = (inputs[consumer].unsqueeze(1) != everything).any(dim=-1)
                assert not differs.all(dim=1).any(), consumer


def test_shared_input_of_names_the_consumers(checkpoint: Any) -> None:
    architecture = checkpoint.architecture
    for name, tensor in checkpoint.published().items():
        shared = architecture.shared_input_of(name)
        is_linear = architecture.role(name, tuple(tensor.shape)) is Role.LINEAR
        assert (shared is not None) == is_linear
