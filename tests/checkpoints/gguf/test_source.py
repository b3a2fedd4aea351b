import gguf
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from gguf_files import finish, interleaved, write_gguf
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.checkpoints.gguf.pieces import Piece
from tersor.checkpoints.gguf.source import GGUFSource
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.restore import restore
from tersor.errors import SourceError
from tersor.families.gguf import Undo
from tiny_models import save_tiny, tokens

Q8 = gguf.GGMLQuantizationType.Q8_0
# Gemma divides by sqrt(query_pre_attn_scalar), which a GGUF holds only as the head size.
FAMILIES = {
    "llama": {},
    "mixtral": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": {"norm_topk_prob": True},
    "gemma2": {"query_pre_attn_scalar": 24},
    "gemma3_text": {"query_pre_attn_scalar": 24},
    "phi3": {},
    "gpt2": {},
}
# transformers' own loader has no table for Mixtral's experts, and reads gpt2's context as n_ctx.
KNOWN_TO_TRANSFORMERS = ("llama", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text", "phi3")


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def test_every_tensor_of_a_family_comes_back(family, tmp_path):
    save_tiny(family, tmp_path / "hf", **FAMILIES[family])
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf")
    original, source = open_source(tmp_path / "hf"), GGUFSource(path, torch.float32)
    assert list(source.tensors) == list(original.tensors)
    for name, info in original.tensors.items():
        assert source.tensors[name] == info
        expected = original.read([name])[name]
        # (1 + w) − 1 is not w in floating point; everything else is exact.
        tolerance = 1e-6 if family.startswith("gemma") and "norm" in name else 0
        assert torch.allclose(source.read([name])[name], expected, rtol=0, atol=tolerance), name


def test_a_restored_directory_computes_what_the_original_computes(family, tmp_path):
    model = save_tiny(family, tmp_path / "hf", **FAMILIES[family])
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf")
    restore(path, tmp_path / "out", dtype=torch.float32)
    restored = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(restored) is type(model)
    ids = tokens(batch=2)
    with torch.no_grad():
        assert torch.allclose(restored(ids).logits, model(ids).logits, atol=1e-4)


@pytest.mark.parametrize("known", KNOWN_TO_TRANSFORMERS)
def test_equals_what_transformers_reads(known, tmp_path):
    save_tiny(known, tmp_path / "hf", **FAMILIES[known])
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", kind=Q8)
    assert_equals_transformers(GGUFSource(path, torch.float32))


def assert_equals_transformers(source):
    """Every tensor of the source, in float32, equals what transformers' own loader makes of it."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**source.config))
    loaded = load_gguf_checkpoint(str(source.path), return_tensors=True, model_to_load=model)
    expected = loaded["tensors"]
    ours = fused(source)
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name


def fused(source):
    """All tensors, with experts stacked as transformers 5 holds them in memory."""
    tensors = source.read(source.tensors)
    experts = source.config.get("num_experts", 0)
    for n in range(source.config["num_hidden_layers"] if experts else 0):
        at = f"model.layers.{n}.mlp.experts"
        parts = {
            part: torch.stack([tensors.pop(f"{at}.{e}.{part}_proj.weight") for e in range(experts)])
            for part in ("gate", "up", "down")
        }
        tensors[f"{at}.gate_up_proj"] = torch.cat([parts["gate"], parts["up"]], dim=1)
        tensors[f"{at}.down_proj"] = parts["down"]
    return tensors


def test_half_precision_is_rounded_once_from_float32(tmp_path):
    save_tiny("gemma2", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", kind=Q8)
    exact, rounded = GGUFSource(path, torch.float32), open_source(path)
    for name, values in exact.read(exact.tensors).items():
        assert torch.equal(rounded.read([name])[name], values.to(torch.bfloat16))


def test_rows_are_put_back_head_by_head():
    # Two heads of four rows: pairs (0, 2), (1, 3) of each head lie side by side in the file.
    stored = torch.tensor([0, 2, 1, 3, 10, 12, 11, 13]).reshape(8, 1)
    expected = torch.tensor([0, 1, 2, 3, 10, 11, 12, 13]).reshape(8, 1)
    tensor = GGUFTensor("blk.0.attn_q.weight", (8, 1), 0, 0, 32)
    order = Piece(tensor, 0, (8, 1), Undo.QUERY_ROWS, heads=2).row_order()
    assert torch.equal(stored[order], expected)
    assert torch.equal(interleaved(expected, 2)[order], expected)


def test_llama_biases_are_permuted_too(tmp_path):
    save_tiny("llama", tmp_path / "hf", attention_bias=True)
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf")
    source, original = GGUFSource(path, torch.float32), open_source(tmp_path / "hf")
    assert source.config["attention_bias"] is True
    name = "model.layers.1.self_attn.k_proj.bias"
    assert torch.equal(source.read([name])[name], original.read([name])[name])


def test_old_mixtral_files_have_one_tensor_per_expert(tmp_path):
    save_tiny("mixtral", tmp_path / "hf")
    names = [f"blk.{n}.ffn_{part}_exps.weight" for n in (0, 1) for part in ("gate", "up", "down")]
    original = open_source(tmp_path / "hf")
    letters = {"gate": "w1", "down": "w2", "up": "w3"}
    apart = {
        f"blk.{n}.ffn_{part}.{e}.weight": original.read([hf])[hf].numpy()
        for n in (0, 1)
        for e in range(4)
        for part, letter in letters.items()
        for hf in [f"model.layers.{n}.block_sparse_moe.experts.{e}.{letter}.weight"]
    }
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", drop=tuple(names), extra=apart)
    source = GGUFSource(path, torch.float32)
    assert list(source.tensors) == list(original.tensors)
    for name in original.tensors:
        assert torch.equal(source.read([name])[name], original.read([name])[name])


def test_experts_stored_in_both_ways_are_refused(tmp_path):
    save_tiny("mixtral", tmp_path / "hf")
    extra = {f"blk.{n}.ffn_gate.0.weight": np.zeros((160, 64), np.float32) for n in (0, 1)}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra=extra)
    with pytest.raises(
        SourceError, match=r"experts\.0\.w1\.weight' twice, as 'blk\.0\.ffn_gate\.0"
    ):
        open_source(path)


def test_tied_embeddings_stay_tied(tmp_path):
    save_tiny("llama", tmp_path / "hf", tie_word_embeddings=True)
    source = open_source(write_gguf(tmp_path / "hf", tmp_path / "m.gguf"))
    assert source.config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in source.tensors


def test_an_untied_head_is_kept(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    source = open_source(write_gguf(tmp_path / "hf", tmp_path / "m.gguf"))
    assert source.config["tie_word_embeddings"] is False
    assert "lm_head.weight" in source.tensors


def test_config_is_complete_and_readable_by_older_versions(tmp_path):
    save_tiny("llama", tmp_path / "hf", rope_parameters={"rope_type": "default", "rope_theta": 5e4})
    config = open_source(write_gguf(tmp_path / "hf", tmp_path / "m.gguf")).config
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 5e4
    assert config["rms_norm_eps"] == 1e-6
    assert config["vocab_size"] == 128
    assert config["hidden_act"] == "silu"


def test_unknown_name_is_refused(tmp_path):
    save_tiny("qwen2", tmp_path / "hf")
    source = open_source(write_gguf(tmp_path / "hf", tmp_path / "m.gguf"))
    with pytest.raises(SourceError, match=r"m\.gguf: holds no tensor named 'blk.0.attn_q.weight'"):
        source.read(["blk.0.attn_q.weight"])


def test_unmapped_tensor_is_refused(tmp_path):
    save_tiny("qwen2", tmp_path / "hf")
    extra = {f"blk.{n}.mystery.weight": np.zeros(32, np.float32) for n in (0, 1)}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra=extra)
    with pytest.raises(SourceError, match=r"'blk\.0\.mystery\.weight' is unknown"):
        open_source(path)


def test_derived_tensor_is_left_out(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    extra = {f"blk.{n}.attn_rot_embd.weight": np.ones(8, np.float32) for n in (0, 1)}
    source = open_source(write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra=extra))
    assert list(source.tensors) == list(open_source(tmp_path / "hf").tensors)


def test_missing_tensor_is_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", drop=("blk.1.ffn_up.weight",))
    with pytest.raises(SourceError, match=r"holds no tensor 'blk\.1\.ffn_up\.weight'"):
        open_source(path)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (3, r"holds no tensor 'blk\.2\."),
        (2**32 - 1, r"holds no tensor 'blk\.2\."),
        (1, "announces 1 blocks, but holds block '1'"),
        (2.0, r"llama\.block_count is 2\.0"),
    ],
)
def test_wrong_number_of_blocks_is_refused(blocks, message, tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata={"llama.block_count": blocks})
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_unsupported_architecture_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    with pytest.raises(SourceError, match=r"architecture 'mamba' is not supported .*llama, phi3"):
        open_source(finish(writer, path))


def test_unsupported_block_type_is_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    extra = {"rope_freqs.weight": np.ones(8, np.int32)}
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", extra=extra)
    with pytest.raises(SourceError, match=r"'rope_freqs\.weight' has the type I32"):
        open_source(path)


def test_rows_that_are_not_the_announced_heads_are_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(
        tmp_path / "hf", tmp_path / "m.gguf", metadata={"llama.attention.head_count_kv": 4}
    )
    with pytest.raises(SourceError, match=r"attn_k\.weight' has 32 rows, not 4 heads of 16"):
        open_source(path)


def test_experts_that_do_not_fit_the_announced_count_are_refused(tmp_path):
    save_tiny("qwen3_moe", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata={"qwen3moe.expert_count": 5})
    with pytest.raises(SourceError, match="is not a stack of 5 experts"):
        open_source(path)


def test_metadata_that_makes_no_config_is_refused(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(
        tmp_path / "hf", tmp_path / "m.gguf", metadata={"llama.embedding_length": 64.5}
    )
    with pytest.raises(SourceError, match=r"m\.gguf: hidden_size is 64\.5, .*; download"):
        open_source(path)


def test_missing_metadata_is_named(tmp_path):
    save_tiny("llama", tmp_path / "hf")
    path = write_gguf(tmp_path / "hf", tmp_path / "m.gguf", metadata={"llama.context_length": None})
    with pytest.raises(SourceError, match=r"llama\.context_length is missing"):
        open_source(path)
