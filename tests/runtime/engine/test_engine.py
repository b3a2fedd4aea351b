"""The engine against transformers: the same logits, whatever the architecture, scheme and way."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tersor
from calibrating import BUDGET
from tersor.errors import EngineError, RecipeError, SourceError, TextError
from tersor.machine.instructions import TILED_LEVELS, levels
from tersor.options.limits import CACHES
from tersor.recipes import load_recipe
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.sampling import Sampling
from tersor.runtime.engine.session import CHUNK
from tersor.runtime.load import load
from tiny_models import ODD, logits_of, save_text, save_tiny, save_tokenizer, tokens

# Windows shorter than the text, and layers of both kinds where a family has them.
SMALLER: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 8},
    "phi3": {"sliding_window": 8, "partial_rotary_factor": 0.5},
    "gemma2": {"sliding_window": 8, "num_hidden_layers": 4, "attn_logit_softcapping": 2.0},
    "gemma3_text": {
        "sliding_window": 8,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
}
TEXT = tokens(batch=1, length=40)[0].tolist()
FLOAT: dict[str, Any] = {"activation_bits": 16, "cache": "float32"}


def expected(directory: Path, text: Sequence[int], *, kernels: bool = False) -> Tensor:
    model = load(directory, kernels=kernels)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        found: Tensor = model(torch.tensor([list(text)])).logits[0]
    return found


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "llama")
    save_tokenizer(tmp_path / "llama")
    return tmp_path / "llama"


@pytest.fixture
def quantized(llama: Path) -> Path:
    out = llama.parent / "w4"
    tersor.quantize(llama, out, "w4", group_size=32)
    save_tokenizer(out)
    return out


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("family", ODD)
def test_logits_are_those_of_transformers(
    tmp_path: Path, family: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERSOR_ISA", level)
    save_tiny(family, tmp_path, **SMALLER.get(family, {}))
    found = logits_of(Engine(tmp_path, **FLOAT), TEXT)
    torch.testing.assert_close(found, expected(tmp_path, TEXT), rtol=0, atol=3e-5)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize(("cache", "most"), [("bfloat16", 5e-3), ("int16", 5e-4)])
def test_long_prompts_with_a_cache_of_pairs(
    tmp_path: Path,
    family: str,
    level: str,
    cache: str,
    most: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = {**SMALLER.get(family, {}), "max_position_embeddings": 512}
    save_tiny(family, tmp_path, **changes)
    text = tokens(batch=1, length=333)[0].tolist()
    exact = expected(tmp_path, text)
    monkeypatch.setenv("TERSOR_ISA", level)
    engine = Engine(tmp_path, threads=2, **{**FLOAT, "cache": cache})
    found = logits_of(engine, text)
    assert 0 < float((found - exact).square().mean().sqrt() / exact.std()) < most
    logits_of(engine, [1])
    assert torch.equal(logits_of(engine, text, last=2), found[-2:])


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("artifact", ["llama", "quantized"])
def test_one_token_at_a_time_gives_the_same_bits(
    request: pytest.FixtureRequest, artifact: str, cache: str
) -> None:
    engine = Engine(request.getfixturevalue(artifact), cache=cache)
    whole = logits_of(engine, TEXT)
    single = [logits_of(engine, [TEXT[0]])]  # forgets the rest
    single += [logits_of(engine, TEXT[: i + 1], last=1) for i in range(1, len(TEXT))]
    assert torch.equal(torch.cat(single), whole)
    for last in (1, 3, 20):
        logits_of(engine, [TEXT[0]])
        assert torch.equal(logits_of(engine, TEXT, last=last), whole[-last:])


def test_prompts_longer_than_a_chunk(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path, max_position_embeddings=2 * CHUNK + 40)
    text = tokens(batch=1, length=2 * CHUNK + 33)[0].tolist()
    found = logits_of(Engine(tmp_path, **FLOAT), text)
    torch.testing.assert_close(found, expected(tmp_path, text), rtol=0, atol=3e-5)
    last = logits_of(Engine(tmp_path, **FLOAT), text, last=3)
    assert torch.equal(last, found[-3:])


RECIPES = ["w4", "w4-asym", "vanilla-int8", "vanilla-int8-asym", "int8-per-tensor", "nf4", "log2"]


@pytest.mark.parametrize("recipe", [*RECIPES, "kmeans", "fp8", "mxfp4", "nvfp4", "w3", "w2"])
def test_float_activations_give_what_is_simulated(llama: Path, recipe: str) -> None:
    out = llama.parent / "out"
    tersor.quantize(llama, out, recipe, group_size=_small_groups(recipe))
    if recipe == "fp8":
        with pytest.raises(EngineError, match="activations"):
            Engine(out)
        return
    found = logits_of(Engine(out, **FLOAT), TEXT)
    torch.testing.assert_close(found, expected(out, TEXT), rtol=0, atol=3e-5)


def _small_groups(recipe: str) -> int | None:
    return 32 if recipe in ("w4", "w4-asym", "w3", "w2", "nf4", "log2") else None


def test_formats_without_a_kernel_run_dequantized_and_say_so(llama: Path) -> None:
    out = llama.parent / "out"
    tersor.quantize(llama, out, "log2", bits=5, group_size=32)
    assert any("dequantized" in note for note in Engine(out).notes)


@pytest.mark.parametrize("recipe", ["w4", "w3", "w2", "vanilla-int8", "w8a8", "w8a8-static"])
def test_integer_activations_give_what_native_linears_give(llama: Path, recipe: str) -> None:
    out = llama.parent / "out"
    text = save_text(llama.parent / "text", BUDGET.tokens)
    small = replace(load_recipe(recipe), calibration=BUDGET)
    texts = [text] if small.needs_calibration else []
    groups = _small_groups(recipe)
    tersor.quantize(llama, out, small, group_size=groups, calibration=texts)
    found = logits_of(Engine(out, cache="float32", dense_bits=16), TEXT)
    theirs = expected(out, TEXT, kernels=True)
    # A value near the middle of two codes may fall on either side.
    assert float((found - theirs).abs().mean()) < 2e-3
    torch.testing.assert_close(found, theirs, rtol=0, atol=0.1)


def test_quantized_embeddings_serve_as_head(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model", tie_word_embeddings=True)
    adjustments = {"group_size": 32, "include": ("model.embed_tokens",)}
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w4", **adjustments)
    found = logits_of(Engine(tmp_path / "out", **FLOAT), TEXT)
    torch.testing.assert_close(found, expected(tmp_path / "out", TEXT), rtol=0, atol=3e-5)


@pytest.mark.parametrize("recipe", ["w4", "w4-asym", "w3", "nf4", "vanilla-int8"])
def test_quantized_embeddings_beside_another_head(llama: Path, recipe: str) -> None:
    out = llama.parent / "out"
    embedding, groups = ("embed_tokens",), _small_groups(recipe)
    tersor.quantize(llama, out, recipe, group_size=groups, include=embedding)
    for _ in range(2):  # packed, and mapped
        found = logits_of(Engine(out, **FLOAT), TEXT)
        torch.testing.assert_close(found, expected(out, TEXT), rtol=0, atol=3e-5)


def test_smaller_caches_cost_memory_less_and_accuracy_little(llama: Path) -> None:
    engines = {cache: Engine(llama, activation_bits=16, cache=cache) for cache in CACHES}
    exact = logits_of(engines["float32"], TEXT)
    for cache, most in (("float16", 0.01), ("bfloat16", 0.05), ("int16", 0.002), ("int8", 0.2)):
        assert float((logits_of(engines[cache], TEXT) - exact).abs().max()) < most
    assert engines["float32"].cache_bytes == 2 * engines["bfloat16"].cache_bytes
    # A scale for every key and value is a quarter of what 16 codes of 8 bits take.
    assert engines["float16"].cache_bytes <= 1.15 * engines["bfloat16"].cache_bytes
    assert engines["int16"].cache_bytes == engines["float16"].cache_bytes
    assert engines["int8"].cache_bytes <= 0.8 * engines["float16"].cache_bytes


def test_the_cache_that_fits(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Engine(llama, activation_bits=16).cache == "int16"
    for name in levels():
        monkeypatch.setenv("TERSOR_ISA", name)
        assert Engine(llama).cache == ("bfloat16" if name in TILED_LEVELS else "int16")


def test_threads_change_no_bit(quantized: Path) -> None:
    found = [logits_of(Engine(quantized, threads=count), TEXT) for count in (1, 2, 3, 5)]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_threads_that_take_tokens_of_their_own_change_no_bit(tmp_path: Path) -> None:
    # Heads that are wider together than the hidden size.
    save_tiny("llama", tmp_path / "llama", max_position_embeddings=1024, head_dim=24)
    tersor.quantize(tmp_path / "llama", tmp_path / "w4", "w4", group_size=32)
    text = tokens(batch=1, length=337)[0].tolist()
    alone = logits_of(Engine(tmp_path / "w4", threads=1), text)
    for threads in (2, 3, 5):
        engine = Engine(tmp_path / "w4", threads=threads)
        for last in (1, 9, 337):
            logits_of(engine, [1])
            assert torch.equal(logits_of(engine, text, last=last), alone[-last:])


def test_engines_in_several_threads_at_once(quantized: Path) -> None:
    engine = Engine(quantized, threads=2)
    alone = logits_of(engine, TEXT)
    engines, found = [Engine(quantized, threads=2) for _ in range(3)], []

    def run(one: Engine) -> None:
        for _ in range(20):
            logits_of(one, [1])
            found.append(logits_of(one, TEXT))

    threads = [threading.Thread(target=run, args=(one,)) for one in (*engines, engines[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(torch.equal(one, alone) for one in found)


def test_greedy_text_is_that_of_transformers(llama: Path) -> None:
    made = [t.id for t in Engine(llama, **FLOAT).generate(TEXT, max_new_tokens=20)]
    whole = load(llama, kernels=False).generate(
        torch.tensor([TEXT]), max_new_tokens=20, do_sample=False
    )
    assert made == whole[0, len(TEXT) :].tolist()


REPEATED = [5, 9, 7, 11, 5, 9, 7, 11, 5, 9, 7]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.2, seed=3)])
def test_guessing_ahead_changes_nothing(quantized: Path, sampling: Sampling) -> None:
    engine = Engine(quantized)
    runs = [
        [
            t.id
            for t in engine.generate(
                REPEATED, max_new_tokens=60, sampling=sampling, speculate=count, ignore_end=True
            )
        ]
        for count in (0, 4, 7)
    ]
    assert len(runs[0]) == 60
    assert runs[0] == runs[1] == runs[2]


def test_batches_give_what_single_prompts_give(quantized: Path) -> None:
    prompts = [TEXT[:5], TEXT[5:22], TEXT[:9]]
    batched: list[list[int]] = [[] for _ in prompts]
    engine = Engine(quantized, batch=3)
    rule = Sampling(temperature=0.8, seed=1)
    for index, token in engine.generate_batch(prompts, max_new_tokens=12, sampling=rule):
        batched[index].append(token.id)
    for prompt, made in zip(prompts, batched, strict=True):
        alone = engine.generate(prompt, max_new_tokens=12, sampling=rule)
        assert made == [t.id for t in alone]


def test_interleaved_generations_do_not_disturb_each_other(quantized: Path) -> None:
    engine = Engine(quantized, batch=2)

    def made(prompt: Sequence[int]) -> list[int]:
        return [t.id for t in engine.generate(prompt, max_new_tokens=8, ignore_end=True)]

    alone = [made(TEXT[:7]), made(TEXT[9:20])]
    first = engine.generate(TEXT[:7], max_new_tokens=8, ignore_end=True)
    second = engine.generate(TEXT[9:20], max_new_tokens=8, ignore_end=True)
    pairs = list(zip(first, second, strict=True))
    assert [[a.id for a, _ in pairs], [b.id for _, b in pairs]] == alone
    batch = engine.generate_batch_tokens([TEXT[:7], TEXT[9:20]], 8)
    rows = []
    for row in batch:
        rows.append(row)
        logits_of(engine, [3, 4])
    assert [list(column) for column in zip(*rows, strict=True)] == alone


def test_seeds_decide(quantized: Path) -> None:
    engine = Engine(quantized)

    def made(seed: int) -> list[int]:
        rule = Sampling(temperature=1.5, seed=seed)
        return [t.id for t in engine.generate(TEXT, max_new_tokens=20, sampling=rule)]

    assert made(1) == made(1) != made(2)


def test_ends(llama: Path) -> None:
    engine = Engine(llama, **FLOAT)
    free = [t.text for t in engine.generate(TEXT, max_new_tokens=12, ignore_end=True)]
    text = "".join(free)
    *_, last = engine.generate(TEXT, max_new_tokens=12, ignore_end=True)
    assert last.finish == "length"
    stop = text[4:6]
    stopped = list(engine.generate(TEXT, max_new_tokens=12, stop=(stop,), ignore_end=True))
    assert "".join(t.text for t in stopped) == text[: text.index(stop)]
    assert stopped[-1].finish == "stop"
    engine.ends = frozenset([next(engine.generate(TEXT)).id])
    (only,) = engine.generate(TEXT)
    assert (only.text, only.finish) == ("", "end")


def test_the_context_ends_the_text(llama: Path) -> None:
    engine = Engine(llama, context=len(TEXT) + 4)
    made = list(engine.generate(TEXT, max_new_tokens=50, ignore_end=True))
    assert len(made) == 4
    assert made[-1].finish == "length"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [([], "empty"), (TEXT * 4, "context"), ([1, 128], "vocabulary|0 to 127"), ([-1], "0 to 127")],
)
def test_prompts_that_cannot_be_run(llama: Path, prompt: list[int], message: str) -> None:
    with pytest.raises(TextError, match=message):
        Engine(llama).generate(prompt)


def test_what_the_engine_does_not_run(tmp_path: Path, llama: Path) -> None:
    save_tiny("opt", tmp_path / "opt")
    with pytest.raises(EngineError, match="'opt'"):
        Engine(tmp_path / "opt")
    with pytest.raises(RecipeError, match="activation_bits must be 8 or 16"):
        Engine(llama, activation_bits=4)
    with pytest.raises(RecipeError, match="int4"):
        Engine(llama, cache="int4")
    with pytest.warns(UserWarning, match="200 tokens is more than the 128"):
        Engine(llama, context=200)
    with pytest.raises(RecipeError, match=r"prompts must be 1 to 2, .* not 3"):
        Engine(llama, batch=2).generate_batch([[1], [2], [3]])
    with pytest.raises(SourceError, match="not a model directory"):
        Engine(tmp_path)


def test_a_missing_tensor_is_named(llama: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = llama / "model.safetensors"
    held = load_file(file)
    del held["model.layers.1.mlp.up_proj.weight"]
    save_file(held, file, metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        Engine(llama)


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_stretched_rotary_embeddings(tmp_path: Path, kind: str) -> None:
    parameters = {
        "rope_type": kind,
        "rope_theta": 1000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    if kind == "linear":
        parameters = {k: parameters[k] for k in ("rope_type", "rope_theta", "factor")}
    save_tiny("llama", tmp_path, rope_parameters=parameters)
    found = logits_of(Engine(tmp_path, **FLOAT), TEXT)
    torch.testing.assert_close(found, expected(tmp_path, TEXT), rtol=0, atol=3e-5)


def test_biases(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path, attention_bias=True, mlp_bias=True)
    found = logits_of(Engine(tmp_path, **FLOAT), TEXT)
    torch.testing.assert_close(found, expected(tmp_path, TEXT), rtol=0, atol=3e-5)


def test_the_engine_is_scored_like_any_model(quantized: Path, tmp_path: Path) -> None:
    text = save_text(tmp_path / "text.txt", 400)
    options: dict[str, Any] = {"base": quantized, "text": [text], "context": 64, "skip": 8}
    (exact,) = tersor.evaluate(
        quantized, **options, engine=True, activation_bits=16, cache="float32"
    ).evaluations
    (rounded,) = tersor.evaluate(quantized, **options, engine=True).evaluations
    assert exact.kl_mean is not None
    assert rounded.kl_mean is not None
    assert exact.kl_mean < 1e-7 < rounded.kl_mean < 1e-2
