"""What is read of a ``config.json`` alone, against transformers' config classes."""

import json
import random
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fuzz.mutations import dumped, mutate
from shape_by_transformers import config_of, facts
from tersor.checkpoints.huggingface.config_fields import check_fields
from tersor.errors import EngineError, SourceError, TersorError
from tersor.families.registry import OUTER
from tersor.runtime.decoder.blueprint import decoder_plan
from tersor.runtime.decoder.configuration import rotary
from tersor.runtime.decoder.plan import DecoderPlan
from tiny_models import ODD, tiny

# Families whose facts ``shape_by_transformers`` knows.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3")
# What a published config may say besides sizes; a family takes what it reads, and most leave much.
CHOICES: dict[str, tuple[Any, ...]] = {
    "head_dim": (16, 20, None),
    "num_key_value_heads": (2, 3, 6),
    "rms_norm_eps": (1e-6, 1e-5),
    "rope_theta": (10000.0, 500000, 1e6, 12345.678),
    "rope_local_base_freq": (10000.0, 7000.0),
    "tie_word_embeddings": (True, False),
    "sliding_window": (7, 512, None),
    "use_sliding_window": (True, False),
    "max_window_layers": (0, 2, 28),
    "sliding_window_pattern": (2, 3),
    "attention_bias": (True, False),
    "mlp_bias": (True, False),
    "query_pre_attn_scalar": (11, 256),
    "attn_logit_softcapping": (50.0, None),
    "final_logit_softcapping": (30.0, None),
    "hidden_act": ("silu", "gelu_pytorch_tanh"),
    "max_position_embeddings": (512, 8192),
    "partial_rotary_factor": (1.0,),
    "eos_token_id": (3, [3, 4], None),
    "is_causal": (True,),
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 96,
}
SCALINGS: tuple[dict[str, Any], ...] = (
    {"rope_type": "default"},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "linear", "factor": 8},
    LLAMA3,
    {**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 8192},
    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    {"rope_type": "yarn", "factor": 40, "beta_fast": 30, "beta_slow": 2, "truncate": False},
    {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.25},
    {"rope_type": "yarn", "factor": 4.0, "mscale": 1.5, "mscale_all_dim": 0.7},
)


def generated(family: str, chance: random.Random) -> dict[str, Any]:
    """A config with sizes, some further fields, and rotary parameters in the old or new way."""
    found = {**ODD[family], "model_type": family, "num_hidden_layers": chance.randint(1, 7)}
    for name, values in CHOICES.items():
        if chance.random() < 0.4:
            found[name] = chance.choice(values)
        elif chance.random() < 0.2 and name != "num_key_value_heads":
            found.pop(name, None)
    scaling = {} if family == "phi3" else dict(chance.choice(SCALINGS))
    if chance.random() < 0.3:
        found["original_max_position_embeddings"] = 256
    if family == "gemma3_text":
        _gemma3_ropes(found, scaling, chance)
    elif chance.random() < 0.5:
        found["rope_parameters"] = {"rope_theta": found.get("rope_theta", 30000.0), **scaling}
    elif scaling:
        found["rope_scaling"] = scaling
    if family in ("qwen2", "qwen3", "gemma2", "gemma3_text") and chance.random() < 0.3:
        kinds = (
            ("full_attention", "attention")
            if found.get("use_sliding_window") is False
            else ("full_attention", "sliding_attention")
        )
        found["layer_types"] = [chance.choice(kinds) for _ in range(found["num_hidden_layers"])]
    return found


def _gemma3_ropes(found: dict[str, Any], scaling: dict[str, Any], chance: random.Random) -> None:
    if chance.random() < 0.5:
        found["rope_scaling"] = scaling
        return
    local = {"rope_type": "default", "rope_theta": 10000.0}
    both = {"full_attention": {**scaling, "rope_theta": 1e6}, "sliding_attention": local}
    found["rope_parameters"] = {k: v for k, v in both.items() if chance.random() < 0.8}


@pytest.fixture
def torch_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one step whose last bit depends on a processor's instructions, by torch."""

    def powers(base: float, turned: int) -> NDArray[np.float32]:
        found = base ** (torch.arange(0, turned, 2, dtype=torch.float) / turned)
        return found.numpy()

    monkeypatch.setattr(rotary, "powers", powers)


def flat(found: DecoderPlan) -> dict[str, Any]:
    """A plan as ``facts`` has it, if its layers differ in nothing but windows and ropes."""
    first, mixers = found.layers[0], [layer.mixer for layer in found.layers]
    for layer in found.layers:
        mixer = replace(layer.mixer, window=first.mixer.window, rope=first.mixer.rope)
        assert replace(layer, mixer=mixer) == first
    norms = [found.final_norm, *first.norms()]
    assert len({(norm.epsilon, norm.offset) for norm in norms}) == 1
    plan = {name: getattr(found, name) for name in ("hidden", "vocabulary", "positions", "tied")}
    mixer = {name: getattr(mixers[0], name) for name in ("heads", "key_heads", "head_size")}
    return {
        **plan,
        **mixer,
        "layers": len(found.layers),
        "mlp_size": first.feedforward.size,
        "epsilon": found.final_norm.epsilon,
        "query_scale": mixers[0].query_scale,
        "attention_cap": mixers[0].cap,
        "final_cap": found.final_cap,
        "embedding_scale": found.embedding_scale,
        "activation": first.feedforward.activation,
        "norm_offset": found.final_norm.offset,
        "linears": set(first.linears),
        "norms": {norm.name for norm in first.norms()},
        "layer_ropes": tuple(mixer.rope for mixer in mixers),
        "windows": found.windows,
        "biased": first.biased,
        "ends": found.ends,
    }


def same(found: DecoderPlan, wanted: Mapping[str, Any]) -> None:
    """Every fact is the same, to the last bit."""
    assert flat(found) == {name: value for name, value in wanted.items() if name != "ropes"}
    assert len(found.ropes) == len(wanted["ropes"])
    for rope, (frequencies, scale) in zip(found.ropes, wanted["ropes"], strict=True):
        assert np.array_equal(rope.frequencies, frequencies.numpy())
        assert rope.scale == scale


@pytest.mark.usefixtures("torch_powers")
@pytest.mark.parametrize("family", FAMILIES)
def test_facts_are_those_of_the_config_class(tmp_path: Path, family: str) -> None:
    chance = random.Random(family)
    held = refused = 0
    for _ in range(150):
        config = generated(family, chance)
        try:
            wanted = facts(config_of(config, tmp_path))
        except Exception:  # a hidden size that heads do not divide, and the like
            refused += 1
            continue
        if None in wanted["windows"]:
            with pytest.raises(EngineError, match="sliding_window"):
                decoder_plan(config)
            continue
        same(decoder_plan(config), wanted)
        held += 1
    assert held > 60, (held, refused)


@pytest.mark.usefixtures("torch_powers")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_that_leaves_all_out(tmp_path: Path, family: str) -> None:
    same(decoder_plan({"model_type": family}), facts(config_of({"model_type": family}, tmp_path)))


@pytest.mark.usefixtures("torch_powers")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("written", ["whole", "differences"])
def test_configs_as_transformers_writes_them(tmp_path: Path, family: str, written: str) -> None:
    config = tiny(family, **ODD[family]).config
    text = config.to_json_string(use_diff=written == "differences")
    same(decoder_plan(json.loads(text)), facts(config_of(json.loads(text), tmp_path)))


@pytest.mark.usefixtures("torch_powers")
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("tied", [None, (True, False), (False, True), (False, False)])
def test_text_parts(tmp_path: Path, outer: str, tied: tuple[bool, bool] | None) -> None:
    text: dict[str, Any] = {**ODD[OUTER[outer].text], "num_hidden_layers": 7}
    config: dict[str, Any] = {"model_type": outer, "text_config": text}
    if tied is not None:
        config["tie_word_embeddings"], text["tie_word_embeddings"] = tied
    same(decoder_plan(config), facts(config_of(config, tmp_path)))


@pytest.mark.usefixtures("torch_powers")
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: str(list(scaling.values())[:2]))
def test_frequencies_of_every_kind_and_size(tmp_path: Path, scaling: dict[str, Any]) -> None:
    for size in (*range(6, 68, 2), 80, 96, 112, 128, 192, 256):
        for theta in (10000.0, 500000, 1000000.0, 5e6, 1e9, 12345.678):
            sizes = {"hidden_size": 2 * size, "num_attention_heads": 2, "head_dim": size}
            rope = {**scaling, "rope_theta": theta}
            config = {"model_type": "llama", **sizes, "rope_parameters": rope}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = facts(config_of(config, tmp_path))
            same(decoder_plan(config), wanted)


def test_powers_are_rounded_once() -> None:
    """torch's are off by at most one unit in the last place, where its instructions put them."""
    for size in (*range(2, 68, 2), 80, 96, 128, 256):
        for theta in (10000.0, 500000, 1000000.0, 1e9, 12345.678):
            found = rotary.powers(theta, size)
            exponents = torch.arange(0, size, 2, dtype=torch.float) / size
            exact = np.float64(np.float32(theta)) ** exponents.numpy().astype(np.float64)
            off = np.abs(found.astype(np.float64) - exact)
            assert (off <= np.spacing(found) / 2).all()
            theirs = (theta**exponents).numpy()
            assert (np.abs(theirs - found) <= np.spacing(found)).all()


def test_tables_are_those_of_transformers() -> None:
    frequencies = 1 / rotary.powers(10000.0, 48)
    cosines, sines = rotary.Rope(frequencies, 1.25).table(3000)
    angles = torch.arange(3000).float()[:, None] * torch.from_numpy(frequencies)
    for found, theirs in ((cosines, angles.cos() * 1.25), (sines, angles.sin() * 1.25)):
        assert (found.dtype, found.shape) == (np.float32, (3000, 24))
        assert np.abs(found - theirs.numpy()).max() <= 2.5 * np.spacing(np.float32(0.5))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model_type": "mamba"}, EngineError, "architecture 'mamba'"),
        ({"model_type": None}, SourceError, "model_type is missing or null"),
        ({"hidden_act": "relu"}, EngineError, "activation 'relu'"),
        ({"is_causal": False}, EngineError, "is_causal"),
        ({"per_layer_config": {"0": {}}}, EngineError, "per_layer_config"),
        ({"hidden_size": "60"}, SourceError, "hidden_size is '60', not a whole number from 1"),
        ({"hidden_size": 3}, SourceError, "hidden_size is 3, not at least"),
        ({"num_key_value_heads": 4}, SourceError, "num_key_value_heads is 4, not a divisor"),
        ({"attention_bias": 1}, SourceError, "attention_bias is 1, not true or false"),
        ({"rope_theta": None}, SourceError, "rope_theta is missing or null"),
        ({"rope_scaling": {"type": "linear"}}, SourceError, "rope_scaling.factor is missing"),
        ({"rope_scaling": {"type": "yarn"}}, SourceError, "rope_scaling.factor is missing"),
        ({"rope_scaling": {"type": "llama3", "factor": 8}}, SourceError, "low_freq_factor"),
        ({"rope_scaling": {"type": "longrope"}}, EngineError, "type 'longrope'"),
        ({"rope_scaling": {"type": []}}, EngineError, "rotary embedding of type"),
        ({"rope_scaling": [1]}, SourceError, r"rope_scaling is \[1\], not an object"),
        ({"rope_parameters": {"full_attention": {}}}, EngineError, "each type of layers"),
        ({"rope_theta": 1.0, "rope_scaling": {"type": "yarn", "factor": 2}}, SourceError,
         "makes no rotary embedding"),
        ({"rope_theta": 1e-300}, SourceError, "makes no rotary embedding"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "partial_rotary_factor": 1e300}},
         EngineError, "20 dimensions that turn in heads of 10"),
        ({"head_dim": 7}, EngineError, "8 dimensions that turn in heads of 7"),
    ],
)  # fmt: skip
def test_what_is_refused(change: dict[str, Any], error: type[Exception], said: str) -> None:
    config = {"model_type": "llama", **ODD["llama"], **change}
    with pytest.raises(error, match=said):
        decoder_plan(config)


@pytest.mark.parametrize(
    ("family", "change", "error", "said"),
    [
        ("mistral", {"layer_types": None}, EngineError, "architecture 'ministral'"),
        ("gemma2", {"use_bidirectional_attention": True}, EngineError, "both directions"),
        ("qwen2", {"layer_types": ["full_attention"]}, SourceError, "num_hidden_layers"),
        ("qwen2", {"layer_types": [1, 2]}, SourceError, "not a list of names"),
        ("qwen3", {"layer_types": ["conv"] * 32}, EngineError, "layers of type 'conv'"),
        ("gemma3_text", {"sliding_window_pattern": 0}, SourceError, "sliding_window_pattern is 0"),
        ("gemma3_text", {"query_pre_attn_scalar": 0}, SourceError, "query_pre_attn_scalar is 0"),
        ("phi3", {"rope_scaling": {"type": "linear", "factor": 2}}, EngineError, "'linear'"),
        ("phi3", {"intermediate_size": 100}, EngineError, "100 rows each"),
        ("gemma3", {}, SourceError, "text_config is missing or null"),
        ("gemma3", {"text_config": {"model_type": "gemma3n_text"}}, EngineError, "gemma3n_text"),
        ("llava", {"text_config": {"hidden_size": []}}, SourceError, "text_config.hidden_size is"),
    ],
)
def test_what_families_refuse(
    family: str, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        decoder_plan({"model_type": family, **ODD.get(family, {}), **change})


def test_neither_torch_nor_transformers_is_needed() -> None:
    code = (
        "import sys; from tersor.runtime.decoder.blueprint import decoder_plan\n"
        "decoder_plan({'model_type': 'llama'}).ropes[0].table(8)\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_configs_end_in_a_shape_or_in_one_line(family: str) -> None:
    chance = random.Random(family)
    shapes = refused = 0
    words = ("yarn", "linear", "llama3", "default", "silu", "sliding_attention", family)
    for _ in range(400):
        config = json.loads(json.dumps(generated(family, chance)))
        try:
            mutate(config, chance, words)
            config = json.loads(dumped(config))
        except (ValueError, RecursionError):  # no matter of what reads fields
            continue
        try:
            check_fields(Path("config.json"), config)
            decoder_plan(config)
            shapes += 1
        except TersorError:
            refused += 1
    assert min(shapes, refused) > 40
