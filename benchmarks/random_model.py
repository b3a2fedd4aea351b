"""A model of the exact shape of Qwen2.5-1.5B with random weights, and the same as a GGUF file.

    python benchmarks/random_model.py -o DIR [--tokenizer MODEL_DIR] [--layers 28]
    python benchmarks/random_model.py -o DIR --half

With --half it is Qwen2.5-0.5B's shape, and only DIR/model and DIR/plain-w4 are written: the preset
w4 as it is, which leaves embedding and head alone. Else writes DIR/model (bfloat16, Hugging Face),
DIR/w4, w3, w2 and DIR/w8a8 (quantized by tersor: groups of 128, W8A8 per channel, embedding and
head as all else) and DIR/f16.gguf. Speed does not depend on what the weights are, so this is as
good as the real one for timing.
"""

import argparse
import shutil
from pathlib import Path

import gguf
import torch
import transformers

import tersor

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


LARGE = {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12}
HALF = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14}


def make(directory: Path, layers: int, shape: dict[str, int]) -> transformers.Qwen2ForCausalLM:
    config = transformers.Qwen2Config(
        **shape,
        vocab_size=151936,
        num_hidden_layers=layers,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    return model


def gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        _, _, layer, *middle, kind = name.split(".")
        return f"blk.{layer}.{NAMES['.'.join(middle)]}.{kind}"
    return {"model.embed_tokens.weight": "token_embd.weight"}.get(name, "output_norm.weight")


def write_gguf(model: transformers.Qwen2ForCausalLM, file: Path) -> None:
    config = model.config
    writer = gguf.GGUFWriter(str(file), "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1e6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_types([int(gguf.TokenType.NORMAL)] * config.vocab_size)
    writer.add_token_merges(["t 0"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            kind = torch.float16 if tensor.ndim == 2 else torch.float32
            writer.add_tensor(gguf_name(name), tensor.to(kind).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--half", action="store_true")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if arguments.half:
        make(out / "model", 24, HALF)
        tersor.quantize(out / "model", out / "plain-w4", "w4", force=True)
        return
    model = make(out / "model", arguments.layers, LARGE)
    write_gguf(model, out / "f16.gguf")
    if arguments.tokenizer is not None:
        for file in arguments.tokenizer.glob("*token*"):
            shutil.copy(file, out / "model")
    embedding = ("model.embed_tokens",)
    groups = {"group_size": 128, "include": embedding}
    for name in ("w4", "w3", "w2"):
        tersor.quantize(out / "model", out / name, name, **groups, force=True)
    channels = {"include": embedding}
    tersor.quantize(out / "model", out / "w8a8", "w8a8", **channels, force=True)


if __name__ == "__main__":
    main()
