"""Families, types of numbers, presets and caches: engine, ``load`` and a model rounded by hand.

A sample of it runs in ``make test``, all of it by ``make test-sweep``.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

import tersor
from calibrating import BUDGET, small, text_of
from tersor.errors import EngineError
from tersor.grids import ScaleFormat
from tersor.options.limits import CACHES
from tersor.recipes import Adjustments, load_recipe, preset_names
from tersor.runtime.artifact import open_artifact
from tersor.runtime.engine.engine import Engine
from tersor.runtime.load import load
from tiny_models import ODD, logits_of, save_text, save_tokenizer, tiny, tokens

TEXT = tokens(batch=1, length=47)[0].tolist()
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What a cache may cost, of the largest logit; the narrow ones are for speed.
MOST = {"float32": 1e-3, "float16": 1e-3, "int16": 1e-3, "bfloat16": 2e-2, "int8": 5e-2}
# What it may cost besides where activations are rounded: what differs by a trifle falls on either
# side of the middle of two codes, and a code is a step of eight bits. Few do in a float32 cache,
# but numbers of bfloat16, which has eight bits too, often lie in the middle.
STEPS, FEW_STEPS = 8e-2, 2e-2
Case = tuple[str, str, str, bool]


def cases() -> Iterator[Case]:
    """All but presets that write one file for llama.cpp."""
    presets = [name for name in preset_names() if load_recipe(name).mixture is None]
    return product(ODD, DTYPES, presets, (False, True))


# Every family, type and kind of grid at least once.
SAMPLE: list[Case] = [
    ("llama", "float32", "w4", True),
    ("mistral", "float16", "w4-asym", False),
    ("qwen2", "bfloat16", "nf4", True),
    ("qwen3", "float16", "mxfp4", False),
    ("gemma2", "float32", "vanilla-int8", True),
    ("gemma3_text", "float16", "w3", True),
    ("gemma3_text", "float32", "gptq", False),
    ("phi3", "bfloat16", "kmeans", False),
    ("llama", "bfloat16", "rotate-gptq", False),
]


def run(model: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(torch.tensor([TEXT]), use_cache=False).logits[0]
    return found


def by_hand(out: Path) -> Tensor:
    """transformers' own model, with every stored tensor, dequantized, put in place."""
    description = json.loads((out / "config.json").read_text())
    del description["quantization_config"]
    plain = out.with_name("plain")
    shutil.rmtree(plain, ignore_errors=True)
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps(description))
    config = AutoConfig.from_pretrained(plain)
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation="eager"
    )
    wrong = model.load_state_dict(dict(open_artifact(out).dense(torch.float32)), strict=False)
    assert not wrong.unexpected_keys
    assert set(wrong.missing_keys) <= {"lm_head.weight"}
    model.tie_weights()
    return run(model.eval())


def close(found: Tensor, exact: Tensor, most: float) -> bool:
    error = float((found - exact).abs().max() / exact.abs().max())
    return error <= most  # NaN is not


def hold(case: Case, directory: Path) -> None:
    family, dtype, name, embedding = case
    model = tiny(family, **ODD[family], tie_word_embeddings=family not in ("llama", "phi3"))
    model.to(DTYPES[dtype]).save_pretrained(directory / "model")
    save_tokenizer(directory / "model")
    save_text(text_of(directory / "model"), BUDGET.tokens)
    preset = load_recipe(name)
    has_groups = preset.scheme.weights.scale_format is ScaleFormat.FLOAT
    recipe = small(preset) if has_groups else replace(preset, calibration=BUDGET)
    if embedding:
        recipe = Adjustments(include=("model.embed_tokens",)).apply(recipe)
    if preset.needs_calibration:
        texts = [text_of(directory / "model")]
        tersor.quantize(directory / "model", directory / "out", recipe, calibration=texts)
    else:
        recipe = replace(recipe, calibration=preset.calibration)
        tersor.quantize(directory / "model", directory / "out", recipe)
    out = directory / "out"
    simulated = load(out, kernels=False)
    simulated.set_attn_implementation("eager")
    exact = run(simulated)
    rounds = any(scheme.activations for scheme in open_artifact(out).schemes.values())
    if not rounds:
        assert close(exact, by_hand(out), 1e-5)
    for cache in CACHES:
        try:
            found = logits_of(Engine(out, activation_bits=16, cache=cache), TEXT)
        except EngineError:
            # Activations that no kernel rounds: transformers runs those.
            assert rounds
            return
        few = cache == "float32" and dtype != "bfloat16"
        steps = rounds * (FEW_STEPS if few else STEPS)
        assert close(found, exact, MOST[cache] + steps), cache
    assert bool(logits_of(Engine(out), TEXT).isfinite().all())


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: "-".join(map(str, case)))
def test_sample(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("case", cases(), ids=lambda case: "-".join(map(str, case)))
def test_all(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)
    shutil.rmtree(tmp_path)
