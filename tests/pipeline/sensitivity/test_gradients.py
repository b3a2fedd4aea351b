"""What linears read and got back, against gradients of the whole model."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tersor.calibration.memory import ActivationMemory
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import shapes_of
from tersor.models.describing import describe
from tersor.models.experts import unfuse
from tersor.models.in_transformers.names import Names
from tersor.pipeline.sensitivity.estimates.gradients import backward
from tersor.pipeline.sensitivity.original import Original
from tersor.runtime.load import load_source
from tiny_models import save_tiny, tokens

FAMILIES = ("llama", "gpt2", "gemma2", "mixtral", "qwen3_moe")
FIRST = 2


def whole_gradients(directory: Path, text: Tensor) -> dict[str, Tensor]:
    """Of the sum of log-likelihoods of the text's own tokens, ``(out, in)`` by published name."""
    source = open_source(directory)
    architecture = describe(source.config, shapes_of(source))
    model = load_source(source)
    model.requires_grad_(True)
    logits = model(text, use_cache=False).logits[:, FIRST:-1].float()
    chosen = logits.log_softmax(-1).gather(-1, text[:, FIRST + 1 :, None])
    chosen.sum().backward()
    parameters = dict(model.named_parameters())
    found = {}
    for disk, slot in Names(model, source.tensors).slots.items():
        gradient = parameters[slot.parameter].grad
        for name, part in unfuse(architecture, disk, slot.view(gradient)).items():
            found[name] = part.T if architecture.is_transposed(name) else part
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_inputs_and_gradients_make_the_gradient_of_every_linear(
    family: str, tmp_path: Path
) -> None:
    save_tiny(family, tmp_path / "model")
    text = tokens(batch=3, length=9)
    expected = whole_gradients(tmp_path / "model", text)
    source = open_source(tmp_path / "model")
    architecture = describe(source.config, shapes_of(source))
    memory = ActivationMemory(10**9)
    original = Original(source, architecture, text, memory, first=FIRST)
    names = {n for n, t in expected.items() if architecture.block_of(n) is not None and t.ndim == 2}
    names -= {name for name in names if name.endswith(("mlp.gate.weight", "moe.gate.weight"))}
    found = {}
    for _, seen in backward(original, names, 0, labels=True):
        found |= {n: sum(w.g.T @ w.x for w in windows) for n, windows in seen.items()}
    missing = names - found.keys()
    assert all(bool((expected[name] == 0).all()) for name in missing)  # experts without a token
    assert len(found) > len(names) / 2
    for name, gradient in found.items():
        largest = expected[name].abs().max()
        assert bool((gradient - expected[name]).abs().max() <= 1e-4 * largest), name


def test_windows_that_are_not_scored_have_inputs_and_no_gradient(tmp_path: Path) -> None:
    save_tiny("mixtral", tmp_path / "model")
    source = open_source(tmp_path / "model")
    architecture = describe(source.config, shapes_of(source))
    memory = ActivationMemory(10**9)
    text = tokens(batch=3, length=9)
    alone = Original(source, architecture, text[:2], memory)
    both = Original(source, architecture, text, memory, scored=2)
    assert alone.positions == both.positions == 16
    name = f"{architecture.container}.0.self_attn.q_proj.weight"
    expert = f"{architecture.container}.1.block_sparse_moe.experts.0.w2.weight"
    names = {name, expert}
    alone_seen, both_seen = (dict(backward(o, names, 3, labels=False)) for o in (alone, both))
    before = both_seen[0]
    assert [w.number for w in before[name]] == [0, 1, 2]
    assert before[name][2].g.shape == (0, 64)
    assert before[name][2].x.shape == (9, 64)
    for one, other in zip(alone_seen[0][name], before[name], strict=False):
        torch.testing.assert_close(one.g, other.g)
