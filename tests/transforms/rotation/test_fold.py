"""A rotated model computes what the original computes, from flatter weights."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_models
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source
from tersor.errors import RecipeError, SourceError
from tersor.transforms import Rotation, rotated

BOTH = [
    "llama", "mistral", "qwen2", "qwen3", "phi3", "opt", "gpt2", "gpt_neox", "mixtral", "qwen3_moe",
    "llama-biases", "llama-tied", "llama-odd", "opt-gelu", "opt-no-biases", "opt-bare-norms",
    "gpt_neox-sequential", "mixtral-fused", "qwen3_moe-fused", "qwen3_moe-one-dense",
]  # fmt: skip
SANDWICH = ["gemma2", "gemma3_text"]


def everything(source: Source) -> dict[str, Tensor]:
    return source.read(source.tensors)


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {n for n in after if n not in before or not torch.equal(before[n].float(), after[n])}


class Recording:
    """A source that remembers what was read of it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path, self.config, self.tensors = source.path, source.config, source.tensors
        self.names: list[str] = []

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        names = list(names)
        self.names += names
        return self._source.read(names)

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        return self._source.copy_companions(directory)


# --- the function stays --------------------------------------------------------------------------


@pytest.mark.parametrize("case", BOTH)
def test_residual_and_values_keep_the_logits(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    turned = rotated(checkpoint.source, Rotation())
    assert checkpoint.change_of_logits(turned.config, everything(turned)) <= 1e-4


@pytest.mark.parametrize("case", BOTH)
def test_every_step_is_needed(case: str, load: Callable[[str], Any]) -> None:
    # Whichever tensor is left as it was, the logits are others: no table names one too many.
    checkpoint = load(case)
    turned = rotated(checkpoint.source, Rotation())
    tensors = everything(turned)
    names = changed(checkpoint.tensors, tensors) & checkpoint.tensors.keys()
    # Without rotary embedding a bias of k adds the same to all scores of a query: nobody sees it.
    for name in (name for name in names if not name.endswith("k_proj.bias")):
        half = {**tensors, name: checkpoint.tensors[name].float()}
        assert checkpoint.change_of_logits(turned.config, half) > 1e-3, name


@pytest.mark.parametrize("case", [*BOTH, *SANDWICH, "opt-post-norm", "opt-projected"])
def test_values_alone_keep_the_logits(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    turned = rotated(checkpoint.source, Rotation(residual=False))
    tensors = everything(turned)
    names = changed(checkpoint.tensors, tensors)
    assert len([name for name in names if name.endswith(".weight")]) == 4  # v and o, two blocks
    assert checkpoint.change_of_logits(turned.config, tensors) <= 1e-4
    assert turned.config == checkpoint.source.config


@pytest.mark.parametrize("case", SANDWICH)
def test_norms_before_the_sum_leave_the_values(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    turned = rotated(checkpoint.source, Rotation())
    only_values = rotated(checkpoint.source, Rotation(residual=False))
    (note,) = turned.notes
    assert f"residual stream of {case} is not rotated" in note
    assert not changed(everything(only_values), everything(turned))
    assert changed(checkpoint.tensors, everything(turned))
    assert turned.config == checkpoint.source.config


# --- what becomes of the tensors -----------------------------------------------------------------


@pytest.mark.parametrize("case", ["llama", "opt", "gpt2", "gpt_neox", "qwen3"])
def test_norms_are_absorbed(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    tensors = everything(rotated(checkpoint.source, Rotation()))
    norms = [n for n, t in tensors.items() if t.ndim == 1 and n.endswith("weight")]
    norms = [n for n in norms if "q_norm" not in n and "k_norm" not in n]
    assert len(norms) == 5
    assert all(bool((tensors[name] == 1).all()) for name in norms)
    for name in {f"{n.removesuffix('.weight')}.bias" for n in norms} & tensors.keys():
        final = checkpoint.architecture.block_of(name) is None
        # The head has no bias that could take up the final norm's.
        assert bool((tensors[name] == 0).all()) != final


def test_norms_inside_the_heads_stay(load: Callable[[str], Any]) -> None:
    checkpoint = load("qwen3")
    untouched = checkpoint.tensors.keys() - changed(
        checkpoint.tensors, everything(rotated(checkpoint.source, Rotation()))
    )
    assert len(untouched) == 4
    assert all(name.endswith(("q_norm.weight", "k_norm.weight")) for name in untouched)


@pytest.mark.parametrize("case", ["llama-tied", "opt", "gpt2"])
def test_a_tied_head_becomes_a_tensor(case: str, load: Callable[[str], Any]) -> None:
    source = load(case).source
    turned = rotated(source, Rotation())
    assert "lm_head.weight" not in source.tensors
    assert list(turned.tensors)[-1] == "lm_head.weight"
    assert turned.tensors["lm_head.weight"].shape == (128, 64)
    assert turned.config["tie_word_embeddings"] is False
    assert turned.notes == (
        "lm_head.weight is no longer the embedding: a tensor of its own (33 kB in float32)",
    )
    assert {**source.config, "tie_word_embeddings": False} == turned.config


def test_a_stored_head_that_the_config_ties_is_the_embedding(load: Callable[[str], Any]) -> None:
    # transformers ignores such a head; once untied it would count.
    tied = load("llama-tied")
    stale = Recording(tied.source)
    head = replace(stale.tensors["model.embed_tokens.weight"], name="lm_head.weight")
    stale.tensors = {**stale.tensors, head.name: head}
    turned = rotated(stale, Rotation())
    assert turned.notes == ()
    assert tied.change_of_logits(turned.config, everything(turned)) <= 1e-4


def test_dtypes_on_paper_and_in_hand(tmp_path: Path) -> None:
    tiny_models.tiny("llama").bfloat16().save_pretrained(tmp_path)
    source = open_source(tmp_path)
    turned = rotated(source, Rotation())
    assert turned.tensors == source.tensors
    assert {info.dtype for info in turned.tensors.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in everything(turned).values()} == {torch.float32}
    values = rotated(source, Rotation(residual=False))
    read = values.read(["model.norm.weight", "model.layers.0.self_attn.o_proj.weight"])
    assert [tensor.dtype for tensor in read.values()] == [torch.bfloat16, torch.float32]
    for name, tensor in everything(turned).items():
        assert tuple(tensor.shape) == turned.tensors[name].shape
        assert tensor.is_contiguous()


# --- reading -------------------------------------------------------------------------------------


LAYERS, OPT_LAYERS = "model.layers.0.", "model.decoder.layers.0."


@pytest.mark.parametrize(
    ("case", "name", "beside"),
    [
        ("llama", f"{LAYERS}mlp.down_proj.weight", set()),
        ("llama", f"{LAYERS}mlp.up_proj.weight", {f"{LAYERS}post_attention_layernorm.weight"}),
        ("opt", f"{OPT_LAYERS}fc2.bias", set()),
        (
            "opt",
            f"{OPT_LAYERS}fc1.bias",
            {f"{OPT_LAYERS}fc1.weight", f"{OPT_LAYERS}final_layer_norm.bias"},
        ),
    ],
)
def test_only_what_is_needed_is_read(
    case: str, name: str, beside: set[str], load: Callable[[str], Any]
) -> None:
    recording = Recording(load(case).source)
    turned = rotated(recording, Rotation())
    recording.names.clear()
    assert turned.read([name]).keys() == {name}
    assert set(recording.names) == {name} | beside


def test_an_untied_head_is_read_from_the_embedding(load: Callable[[str], Any]) -> None:
    recording = Recording(load("llama-tied").source)
    rotated(recording, Rotation()).read(["lm_head.weight"])
    assert set(recording.names) == {"model.embed_tokens.weight", "model.norm.weight"}


def test_nothing_is_read_before(load: Callable[[str], Any]) -> None:
    recording = Recording(load("llama").source)
    rotated(recording, Rotation())
    assert recording.names == []


def test_reading_one_by_one_is_reading_at_once(load: Callable[[str], Any]) -> None:
    turned = rotated(load("opt").source, Rotation())
    for name, tensor in everything(turned).items():
        assert torch.equal(turned.read([name])[name], tensor)


def test_companions_and_path_are_those_of_the_source(
    load: Callable[[str], Any], tmp_path: Path
) -> None:
    source = load("llama").source
    turned = rotated(source, Rotation())
    assert turned.path == source.path
    assert turned.copy_companions(tmp_path) == ("generation_config.json",)


# --- seeds ---------------------------------------------------------------------------------------


def test_the_seed_decides(load: Callable[[str], Any]) -> None:
    source = load("llama").source
    one, again, other = (everything(rotated(source, Rotation(seed=s))) for s in (1, 1, 2))
    assert not changed(one, again)
    assert "model.embed_tokens.weight" in changed(one, other)
    assert "model.layers.0.self_attn.o_proj.weight" in changed(one, other)


def test_blocks_have_value_rotations_of_their_own(load: Callable[[str], Any]) -> None:
    # The same v in both blocks comes out differently.
    source = load("llama").source
    stored = source.read(source.tensors)
    names = [f"model.layers.{block}.self_attn.v_proj.weight" for block in (0, 1)]

    class Alike(Recording):
        def read(self, wanted: Iterable[str]) -> dict[str, Tensor]:
            return {name: stored[name.replace("layers.1", "layers.0")] for name in wanted}

    first, second = rotated(Alike(source), Rotation(residual=False)).read(names).values()
    assert not torch.allclose(first, second)
    assert torch.allclose(first.norm(), second.norm())


# --- what it is for ------------------------------------------------------------------------------


def kurtosis(rows: Tensor) -> float:
    """Of all values; 3 for a normal distribution."""
    rows = rows.double() - rows.double().mean()
    return float(rows.pow(4).mean() / rows.square().mean() ** 2)


def test_outliers_are_spread(load: Callable[[str], Any]) -> None:
    # Two channels of the residual stream are 30 times the others, as in real models.
    checkpoint = load("llama")
    stored = dict(checkpoint.tensors)
    writers = [n for n in stored if n.endswith(("o_proj.weight", "down_proj.weight"))]
    for name in (*writers, "model.embed_tokens.weight"):
        stored[name] = stored[name].clone()
        axis = stored[name] if name in writers else stored[name].T
        axis[[5, 40]] *= 30

    class Spiky(Recording):
        def read(self, wanted: Iterable[str]) -> dict[str, Tensor]:
            return {name: stored[name] for name in wanted}

    flat = everything(rotated(Spiky(checkpoint.source), Rotation(values=False)))
    for name in (*writers, "model.embed_tokens.weight"):
        assert kurtosis(stored[name]) > 20
        assert kurtosis(flat[name]) < 5
        assert flat[name].abs().max() < stored[name].abs().max() / 2


# --- refusals ------------------------------------------------------------------------------------


def test_norms_after_the_sum_are_refused(load: Callable[[str], Any]) -> None:
    with pytest.raises(SourceError, match=r"norm comes after the residual sum.*residual: false"):
        rotated(load("opt-post-norm").source, Rotation())


def test_a_projection_beside_the_embedding_is_refused(load: Callable[[str], Any]) -> None:
    with pytest.raises(SourceError, match=r"project_(in|out)\.weight is not in the table of opt"):
        rotated(load("opt-projected").source, Rotation())


def test_a_model_without_a_table_is_refused(load: Callable[[str], Any]) -> None:
    checkpoint = load("llama")
    unknown = replace(checkpoint.architecture, known=False, note="no table")
    with pytest.raises(SourceError, match="no table; choose a recipe without a rotation"):
        rotated(checkpoint.source, Rotation(), unknown)


def test_an_unknown_matrix_is_refused(load: Callable[[str], Any]) -> None:
    recording = Recording(load("llama").source)
    extra = replace(recording.tensors["model.layers.0.mlp.up_proj.weight"], name="")
    for name in ("model.layers.0.mlp.side.weight", "model.side.weight"):
        recording.tensors = {**load("llama").source.tensors, name: extra}
        with pytest.raises(SourceError, match=rf"{name} is not in the table of llama"):
            rotated(recording, Rotation())


def test_a_head_that_is_missing_is_refused(load: Callable[[str], Any]) -> None:
    recording = Recording(load("llama").source)
    recording.tensors = {n: i for n, i in recording.tensors.items() if n != "lm_head.weight"}
    with pytest.raises(SourceError, match="without embedding and head"):
        rotated(recording, Rotation())


def test_a_bias_nobody_can_absorb_is_refused_at_once(load: Callable[[str], Any]) -> None:
    source = load("opt").source
    final = "model.decoder.final_layer_norm.weight"
    gain = source.read([final])[final].clone()
    gain[3] = 0

    class Zero(Recording):
        def read(self, wanted: Iterable[str]) -> dict[str, Tensor]:
            return {n: gain if n == final else source.read([n])[n] for n in wanted}

    with pytest.raises(SourceError, match=r"final_layer_norm\.weight holds zeros"):
        rotated(Zero(source), Rotation())


def test_unknown_tensors_are_the_sources_business(load: Callable[[str], Any]) -> None:
    with pytest.raises(SourceError, match="holds no tensor named 'x'"):
        rotated(load("llama").source, Rotation()).read(["x"])


def test_a_rotation_of_nothing() -> None:
    with pytest.raises(RecipeError, match="leave the rotation out"):
        Rotation(residual=False, values=False)


# --- the real model ------------------------------------------------------------------------------


@pytest.mark.model
def test_two_real_blocks(real: Any) -> None:
    turned = rotated(real.source, Rotation())
    tensors = everything(turned)
    assert real.change_of_logits(turned.config, tensors) <= 1e-4
    linears = [n for n in turned.tensors if n.endswith("proj.weight")]

    def peak(tensors: Mapping[str, Tensor]) -> float:
        """Largest weight in standard deviations, averaged over the linears."""
        return sum(float(tensors[n].abs().amax() / tensors[n].std()) for n in linears) / 14

    assert peak(tensors) < 0.8 * peak(real.tensors)
