import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tersor
from tersor.checkpoints.huggingface.directory import open_directory
from tersor.checkpoints.opening import open_source
from tersor.errors import SourceError, UnsafeSource
from tiny_models import ODD, save_tiny, save_tokenizer

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
SETTINGS = {
    "peft_type": "LORA", "r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"],
    "rank_pattern": {}, "alpha_pattern": {}, "bias": "none", "init_lora_weights": True,
    "megatron_core": "megatron.core", "qalora_group_size": 16, "use_dora": False,
}  # fmt: skip


def factors(module, shape, rank, embedding=False):
    generator = torch.Generator().manual_seed(len(module))
    kind = "lora_embedding_" if embedding else "lora_"
    end = "" if embedding else ".weight"
    return {
        f"base_model.model.{module}.{kind}A{end}": torch.randn(rank, shape[1], generator=generator),
        f"base_model.model.{module}.{kind}B{end}": torch.randn(shape[0], rank, generator=generator),
    }


def product(tensors, module, kind="lora_", end=".weight"):
    a = tensors[f"base_model.model.{module}.{kind}A{end}"].double()
    return tensors[f"base_model.model.{module}.{kind}B{end}"].double() @ a


def adapted(directory, family="llama", tensors=None, **settings):
    save_tiny(family, directory, **ODD.get(family, {}))
    save_tokenizer(directory)
    if tensors is None:
        tensors = factors(Q, (60, 60), 3) | factors(DOWN, (60, 156), 3)
    save_file(tensors, directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text(json.dumps(SETTINGS | settings))
    return load_file(directory / "model.safetensors"), tensors


def near(source, name, wanted):
    assert torch.allclose(source.read([name])[name].double(), wanted, atol=1e-5), name


def test_an_adapter_is_refused_by_every_reader(tmp_path):
    adapted(tmp_path)
    for read in (open_directory, open_source, tersor.load, tersor.Engine):
        with pytest.raises(SourceError, match=r"adapter_config\.json: .*--merge-adapter"):
            read(tmp_path)
    with pytest.raises(SourceError, match="--merge-adapter"):
        tersor.quantize(tmp_path, tmp_path / "out")


def test_merging_without_an_adapter_is_refused(tmp_path):
    save_tiny("llama", tmp_path)
    with pytest.raises(SourceError, match="no adapter_config"):
        open_source(tmp_path, merge_adapter=True)


def test_lora_is_added_to_its_matrices_and_nothing_else_changes(tmp_path):
    weights, tensors = adapted(tmp_path)
    source = open_source(tmp_path, merge_adapter=True)
    for module in (Q, DOWN):
        name = f"{module}.weight"
        near(source, name, weights.pop(name).double() + product(tensors, module) * 5 / 3)
    for name, weight in weights.items():
        assert torch.equal(source.read([name])[name], weight)


def test_ranks_alphas_and_their_root(tmp_path):
    tensors = factors(Q, (60, 60), 2) | factors(DOWN, (60, 156), 3)
    patterns = {"rank_pattern": {r"0\.self_attn\.q_proj": 2}, "alpha_pattern": {"down_proj": 7}}
    weights, _ = adapted(tmp_path, tensors=tensors, use_rslora=True, **patterns)
    source = open_source(tmp_path, merge_adapter=True)
    for module, scale in ((Q, 5 / 2**0.5), (DOWN, 7 / 3**0.5)):
        name = f"{module}.weight"
        near(source, name, weights[name].double() + product(tensors, module) * scale)


def test_transposed_linears_embeddings_and_whole_modules(tmp_path):
    attention, square = "transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_proj"
    tensors = factors(attention, (192, 64), 3) | factors(square, (64, 64), 3)
    tensors["base_model.model.transformer.ln_f.modules_to_save.weight"] = torch.rand(64)
    weights, _ = adapted(tmp_path, "gpt2", tensors, fan_in_fan_out=True)
    source = open_source(tmp_path, merge_adapter=True)
    for module in (attention, square):
        name = f"{module}.weight"
        near(source, name, weights[name].double() + product(tensors, module).T * 5 / 3)
    wanted = tensors["base_model.model.transformer.ln_f.modules_to_save.weight"]
    assert torch.equal(source.read(["transformer.ln_f.weight"])["transformer.ln_f.weight"], wanted)


def test_embeddings(tmp_path):
    module = "model.embed_tokens"
    tensors = factors(module, (60, 131), 3, embedding=True)
    weights, _ = adapted(tmp_path, tensors=tensors)
    source = open_source(tmp_path, merge_adapter=True)
    change = product(tensors, module, "lora_embedding_", "").T
    near(source, f"{module}.weight", weights[f"{module}.weight"].double() + change * 5 / 3)


def test_an_embedding_that_the_adapter_stores_too(tmp_path):
    module = "model.embed_tokens"
    tensors = factors(module, (60, 131), 3, embedding=True)
    base = tensors[f"base_model.model.{module}.base_layer.weight"] = torch.rand(131, 60)
    adapted(tmp_path, tensors=tensors)
    source = open_source(tmp_path, merge_adapter=True)
    change = product(tensors, module, "lora_embedding_", "").T
    near(source, f"{module}.weight", base.double() + change * 5 / 3)


def test_the_embedding_of_a_tied_head_is_refused(tmp_path):
    tensors = factors("model.embed_tokens", (60, 131), 3, embedding=True)
    save_tiny("llama", tmp_path, **ODD["llama"], tie_word_embeddings=True)
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(SETTINGS))
    with pytest.raises(SourceError, match="tied"):
        open_source(tmp_path, merge_adapter=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"target_parameters": ["experts.gate_up_proj"]},
        {"something_new": 1},
        {"r": "many"},
        {"r": 4},
    ],
)
def test_what_cannot_be_merged_is_refused(tmp_path, settings):
    adapted(tmp_path, **settings)
    with pytest.raises(SourceError, match=r"adapter_config\.json"):
        open_source(tmp_path, merge_adapter=True)


@pytest.mark.parametrize(
    "tensors",
    [
        factors("model.layers.7.mlp.down_proj", (60, 156), 3),
        factors(DOWN, (60, 150), 3),
        dict(list(factors(DOWN, (60, 156), 3).items())[:1]),
        {f"base_model.model.{DOWN}.lora_magnitude_vector": torch.ones(60)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, tensors):
    adapted(tmp_path, tensors=tensors)
    with pytest.raises(SourceError, match=r"adapter_model\.safetensors"):
        open_source(tmp_path, merge_adapter=True)


def test_pickled_adapters_are_refused(tmp_path):
    adapted(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UnsafeSource, match=r"adapter_model\.bin"):
        open_source(tmp_path, merge_adapter=True)


def test_a_merged_model_is_quantized_and_restored(tmp_path):
    adapted(tmp_path / "model")
    result = tersor.quantize(
        tmp_path / "model", tmp_path / "w8", "vanilla-int8", merge_adapter=True
    )
    assert any("is merged: 2 matrices" in note for note in result.notes)
    tersor.restore(tmp_path / "model", tmp_path / "plain", merge_adapter=True)
    tersor.quantize(tmp_path / "plain", tmp_path / "again", "vanilla-int8")
    again = load_file(tmp_path / "again" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "w8" / "model.safetensors").items():
        assert torch.equal(tensor, again[name]), name
