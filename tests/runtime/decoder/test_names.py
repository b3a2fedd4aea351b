"""Decoders whose tensors have other prefixes than a causal model's."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tersor
from tersor.errors import EngineError, SourceError
from tersor.runtime.decoder.stored.names import decoder_names
from tersor.runtime.engine.engine import Engine
from tersor.runtime.load import load
from tiny_models import ODD, logits_of, randomized, save_tiny, save_tokenizer, tiny, tokens

TEXT = tokens(batch=1, length=31)[0].tolist()
EXACT: dict[str, Any] = {"activation_bits": 16, "cache": "float32"}
VISION = {
    "num_hidden_layers": 1,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PLAIN = {**ODD["llama"], **TOKENS, "num_hidden_layers": 2}
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "gemma3": (
        "Gemma3",
        "gemma3_text",
        {**ODD["gemma3_text"], **TOKENS},
        {"model_type": "siglip_vision_model"},
    ),
    "llava": ("Llava", "llama", PLAIN, {"model_type": "clip_vision_model"}),
    "mistral3": ("Mistral3", "mistral", PLAIN, {"model_type": "pixtral"}),
    "internvl": ("InternVL", "qwen2", PLAIN, {"model_type": "internvl_vision"}),
    "idefics3": ("Idefics3", "llama", PLAIN, {}),
}


def save_outer(name: str, directory: Path) -> Any:
    prefix, text_type, text, vision = MODELS[name]
    config = getattr(transformers, f"{prefix}Config")(
        text_config={**text, "model_type": text_type},
        vision_config={**VISION, **vision},
        image_token_id=130,
    )
    model = getattr(transformers, f"{prefix}ForConditionalGeneration")(config)
    randomized(model).save_pretrained(directory)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_the_text_part_of_a_model_with_images(tmp_path: Path, name: str) -> None:
    model = save_outer(name, tmp_path)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        exact = model(input_ids=torch.tensor([TEXT])).logits[0]
    found = logits_of(Engine(tmp_path, **EXACT), TEXT)
    torch.testing.assert_close(found, exact, rtol=0, atol=3e-5)


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_bare_decoders(tmp_path: Path, family: str) -> None:
    model = tiny(family, **ODD[family], tie_word_embeddings=True)
    model.model.save_pretrained(tmp_path / "bare")
    save_tokenizer(tmp_path / "bare")
    tersor.quantize(tmp_path / "bare", tmp_path / "w4", "w4", group_size=16)
    save_tokenizer(tmp_path / "w4")
    with torch.inference_mode():
        exact = model(torch.tensor([TEXT])).logits[0]
        rounded = load(tmp_path / "w4", kernels=False)(torch.tensor([TEXT])).logits[0]
    torch.testing.assert_close(
        logits_of(Engine(tmp_path / "bare", **EXACT), TEXT), exact, rtol=0, atol=3e-5
    )
    torch.testing.assert_close(
        logits_of(Engine(tmp_path / "w4", **EXACT), TEXT), rounded, rtol=0, atol=3e-5
    )
    assert tersor.generate(tmp_path / "w4", "abcdef", max_new_tokens=3)


def test_other_outer_models_are_refused(tmp_path: Path) -> None:
    config = transformers.Qwen2AudioConfig(text_config={"model_type": "qwen2", **PLAIN})
    save_tiny("qwen2", tmp_path, **ODD["qwen2"])
    config.save_pretrained(tmp_path)
    with pytest.raises(EngineError, match="qwen2_audio"):
        Engine(tmp_path)


def test_names() -> None:
    def held(*prefixes: str) -> list[str]:
        parts = ("layers.0.input_layernorm.weight", "norm.weight")
        return [prefix + part for prefix in prefixes for part in parts]

    made = {
        prefix: decoder_names("here", held(prefix))
        for prefix in ("", "model.", "model.language_model.", "language_model.model.")
    }
    assert [names.head for names in made.values()] == [
        "lm_head",
        "lm_head",
        "lm_head",
        "language_model.lm_head",
    ]
    assert made["model."].layer(3, "mlp") == "model.layers.3.mlp"
    assert made[""].embedding == "embed_tokens"
    # Blocks that predict further tokens have no norm of their own.
    both = [*held("model."), "mtp.layers.0.input_layernorm.weight"]
    assert decoder_names("here", both).prefix == "model."
    with pytest.raises(SourceError, match="here holds no decoder"):
        decoder_names("here", ["model.norm.weight"])
    with pytest.raises(SourceError, match="several"):
        decoder_names("here", held("a.", "b."))
