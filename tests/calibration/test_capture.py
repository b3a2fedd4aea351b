"""Statistics of a streamed run against hooks on the whole model, for every family."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny_models
from tersor.calibration import collect
from tersor.calibration.attention import use_native_attention
from tersor.calibration.statistics import AbsMax, MeanSquare, MinMax, WindowRanges
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source, TensorInfo
from tersor.errors import SourceError, TextError
from tersor.models.architecture import Role
from tersor.models.describing import describe

LENGTH = 24
# Windows longer than the sliding window, and both kinds of attention.
SLIDING: dict[str, Any] = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in tiny_models.FAMILIES},
    "gemma2": ("gemma2", SLIDING),
    "gemma3_text": ("gemma3_text", SLIDING),
    "mistral": ("mistral", {"sliding_window": 8}),
    "opt-post-norm": ("opt", {"do_layer_norm_before": False}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-scaled-rope": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
    ),
    "qwen3_moe-one-dense": ("qwen3_moe", {"mlp_only_layers": [0]}),
}


class Memory:
    """A source made of tensors in memory, which remembers what was read."""

    def __init__(self, config: dict[str, Any], values: dict[str, Tensor]) -> None:
        self.path = Path("memory")
        self.config = config
        self.values = values
        self.tensors = {n: TensorInfo(n, t.dtype, tuple(t.shape)) for n, t in values.items()}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: self.values[name].clone() for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        raise NotImplementedError


@dataclass(frozen=True)
class Tiny:
    """A tiny model, and the checkpoint it was saved as."""

    model: Any
    source: Source

    @property
    def linears(self) -> list[str]:
        shapes = {name: info.shape for name, info in self.source.tensors.items()}
        architecture = describe(self.source.config, shapes)
        return [n for n, shape in shapes.items() if architecture.role(n, shape) is Role.LINEAR]

    def memory(self) -> Memory:
        values = self.source.read(self.source.tensors)
        return Memory(dict(self.source.config), {n: t.clone() for n, t in values.items()})


@pytest.fixture(scope="module", params=CASES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    family, overrides = CASES[request.param]
    return make(family, tmp_path_factory.mktemp("model"), **overrides)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make("llama", tmp_path_factory.mktemp("llama"))


def make(family: str, directory: Path, *, fused: bool = False, **overrides: Any) -> Tiny:
    model = tiny_models.save_tiny(family, directory, fused=fused, **overrides)
    return Tiny(model, open_source(directory))


def naive(tiny: Tiny, tokens: Tensor) -> dict[str, Tensor]:
    """Input of every linear, ``(tokens, in)``, from one forward of the whole model."""
    use_native_attention(tiny.model)  # so that the two can be equal to the last bit
    inputs: dict[str, Tensor] = {}
    weights = tiny.source.read(tiny.source.tensors)

    def on_linear(name: str) -> Any:
        return lambda _, args: inputs.__setitem__(name, args[0].reshape(-1, args[0].shape[-1]))

    def on_experts(path: str) -> Any:
        return lambda module, args: inputs.update(by_expert(path, module, args[0], args[1]))

    def by_expert(path: str, module: Any, x: Tensor, chosen: Tensor) -> dict[str, Tensor]:
        """Rows sent to each expert; what its last matrix sees, from the published weights."""
        mixtral = f"{path.replace('mlp', 'block_sparse_moe')}.0.w1.weight" in weights
        block = path.replace("mlp", "block_sparse_moe") if mixtral else path
        gate, up, down = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
        found = {}
        for expert in range(module.num_experts):
            rows = x[(chosen == expert).any(-1)]
            if len(rows):
                names = [f"{block}.{expert}.{part}.weight" for part in (gate, up, down)]
                inner = module.act_fn(rows @ weights[names[0]].T) * (rows @ weights[names[1]].T)
                found |= {names[0]: rows, names[1]: rows, names[2]: inner}
        return found

    for path, module in tiny.model.named_modules():
        if f"{path}.weight" in tiny.linears:
            module.register_forward_pre_hook(on_linear(f"{path}.weight"))
        elif path.endswith("mlp.experts"):
            module.register_forward_pre_hook(on_experts(path))
    with torch.no_grad():
        tiny.model(tokens, use_cache=False)
    for module in tiny.model.modules():
        module._forward_pre_hooks.clear()
    return inputs


def test_all_windows_at_once_equal_a_whole_forward(tiny: Tiny) -> None:
    tokens = tiny_models.tokens(batch=5, length=LENGTH)
    found = collect(tiny.source, {name: MinMax() for name in tiny.linears}, tokens)
    expected = naive(tiny, tokens)
    assert found.keys() == expected.keys()
    assert expected.keys() == set(tiny.linears)
    for name, x in expected.items():
        assert found[name].tokens == len(x)
        if "experts" in name:  # routed rows come in another order, through other products
            torch.testing.assert_close(found[name].minimum, x.amin(0), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(found[name].maximum, x.amax(0), rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(found[name].minimum, x.amin(0)), name
            assert torch.equal(found[name].maximum, x.amax(0)), name


@pytest.mark.parametrize("batch", [5, LENGTH])
def test_microbatches_change_nothing(tiny: Tiny, batch: int) -> None:
    """Also when there are as many windows as tokens in one, so that axes could be confused."""
    tokens = tiny_models.tokens(batch=batch, length=LENGTH)
    observers = {name: MeanSquare() for name in tiny.linears}
    found = collect(tiny.source, observers, tokens, microbatch_tokens=2 * LENGTH)
    for name, x in naive(tiny, tokens).items():
        expected = x.double().square().mean(0).float()
        torch.testing.assert_close(found[name].values, expected, rtol=1e-4, atol=1e-6, msg=name)
        assert found[name].tokens == len(x)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_fused_experts_on_disk_give_the_same(family: str, tmp_path: Path) -> None:
    apart = make(family, tmp_path / "apart")
    fused = make(family, tmp_path / "fused", fused=True)
    assert len(fused.source.tensors) < len(apart.source.tensors)
    tokens = tiny_models.tokens(length=LENGTH)
    found = [
        collect(t.source, {n: AbsMax() for n in apart.linears}, tokens) for t in (apart, fused)
    ]
    assert found[0].keys() == found[1].keys()
    for name, result in found[0].items():
        assert torch.equal(result.values, found[1][name].values)


def test_an_update_is_a_window(llama: Tiny) -> None:
    class Sizes:
        def __init__(self) -> None:
            self.seen: list[tuple[int, ...]] = []

        def update(self, x: Tensor) -> None:
            self.seen.append(tuple(x.shape))

        def result(self) -> list[tuple[int, ...]]:
            return self.seen

    tokens = tiny_models.tokens(batch=5, length=LENGTH)
    name = "model.layers.1.mlp.down_proj.weight"
    for microbatch in (1, 3 * LENGTH, 10**6):
        found = collect(llama.source, {name: Sizes()}, tokens, microbatch_tokens=microbatch)
        assert found[name] == [(LENGTH, 160)] * 5
    ranges = [
        collect(llama.source, {name: WindowRanges()}, tokens, microbatch_tokens=size)[name]
        for size in (1, 10**6)
    ]
    torch.testing.assert_close(ranges[0], ranges[1], rtol=1e-5, atol=1e-6)


def test_bfloat16_weights_are_computed_with_in_fp32(llama: Tiny) -> None:
    memory = llama.memory()
    rounded = Memory(memory.config, {n: t.bfloat16() for n, t in memory.values.items()})
    widened = Memory(memory.config, {n: t.float() for n, t in rounded.values.items()})
    tokens = tiny_models.tokens()
    name = "model.layers.1.self_attn.q_proj.weight"
    found = [collect(s, {name: AbsMax()}, tokens)[name].values for s in (rounded, widened)]
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], found[1])


def test_gpt2_without_prefix_and_with_stored_masks(tmp_path: Path) -> None:
    tiny = make("gpt2", tmp_path)
    memory = tiny.memory()
    values = {n.removeprefix("transformer."): t for n, t in memory.values.items()}
    values["h.0.attn.bias"] = torch.ones(1, 1, 128, 128)
    tokens = tiny_models.tokens()
    short = {n.removeprefix("transformer."): AbsMax() for n in tiny.linears}
    found = collect(Memory(memory.config, values), short, tokens)
    expected = collect(tiny.source, {n: AbsMax() for n in tiny.linears}, tokens)
    assert len(found) == len(expected) == 8
    for name, result in expected.items():
        assert torch.equal(found[name.removeprefix("transformer.")].values, result.values)


def test_an_architecture_without_a_table(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, StableLmConfig

    config = StableLmConfig(**tiny_models._LLAMA)
    model = tiny_models.randomized(AutoModelForCausalLM.from_config(config))
    model.save_pretrained(tmp_path)
    tiny, tokens = Tiny(model, open_source(tmp_path)), tiny_models.tokens()
    found = collect(tiny.source, {name: AbsMax() for name in tiny.linears}, tokens)
    for name, x in naive(tiny, tokens).items():
        assert torch.equal(found[name].values, x.abs().amax(0)), name
    assert len(found) == 14


def test_the_language_part_of_a_multimodal_model(tmp_path: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = tiny_models.tiny("gemma3_text", **SLIDING).config.to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    config = Gemma3Config(
        text_config=text, vision_config=vision | {"num_attention_heads": 2, "image_size": 28}
    )
    model = tiny_models.randomized(Gemma3ForConditionalGeneration(config))
    model.save_pretrained(tmp_path)
    tiny, tokens = Tiny(model, open_source(tmp_path)), tiny_models.tokens()
    observers = {name: AbsMax() for name in tiny.linears}
    found = collect(tiny.source, observers, tokens)
    assert len(found) == 14
    path = "model.language_model.layers.1.mlp.down_proj"
    seen: list[Tensor] = []
    model.get_submodule(path).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(tokens, use_cache=False)
    disk = next(name for name in found if name.endswith("layers.1.mlp.down_proj.weight"))
    torch.testing.assert_close(found[disk].values, seen[0].abs().amax((0, 1)))


def test_the_heads_input(llama: Tiny) -> None:
    tokens = tiny_models.tokens(batch=5)
    found = collect(llama.source, {"lm_head.weight": MinMax()}, tokens, microbatch_tokens=48)
    with torch.no_grad():
        hidden = llama.model.model(tokens).last_hidden_state.flatten(0, 1)
    torch.testing.assert_close(found["lm_head.weight"].maximum, hidden.amax(0))
    assert found["lm_head.weight"].tokens == 5 * LENGTH


def test_an_expert_that_nothing_was_sent_to_is_absent(tmp_path: Path) -> None:
    tiny = make("mixtral", tmp_path)
    memory = tiny.memory()
    gate = memory.values["model.layers.0.block_sparse_moe.gate.weight"]
    memory.values["model.layers.0.block_sparse_moe.gate.weight"] = torch.zeros_like(gate)
    found = collect(memory, {name: AbsMax() for name in tiny.linears}, tiny_models.tokens())
    experts = {n.split(".")[5] for n in found if n.startswith("model.layers.0.block_sparse_moe")}
    assert len(experts) == 2  # all the same score: the router takes the first two
    assert len([n for n in found if n.startswith("model.layers.1.block_sparse_moe")]) == 12


def test_progress_and_the_callers_generator(llama: Tiny) -> None:
    seen: list[tuple[int, int]] = []
    state = torch.get_rng_state()
    collect(llama.source, {}, tiny_models.tokens(), progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_window_longer_than_a_microbatch_is_kept_whole(llama: Tiny) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    found = collect(llama.source, {name: AbsMax()}, tiny_models.tokens(), microbatch_tokens=1)
    assert found[name].tokens == 4 * LENGTH


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.0.mlp.upp_proj.weight",
        "model.layers.0.mlp.up_proj",
        "model.layers.0.mlp.weight",
    ],
)
def test_what_is_no_linear_is_named(llama: Tiny, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name} is no"):
        collect(llama.source, {name: AbsMax()}, tiny_models.tokens())


def test_experts_beyond_the_last_are_named(tmp_path: Path) -> None:
    tiny = make("qwen3_moe", tmp_path)
    name = "model.layers.0.mlp.experts.4.up_proj.weight"
    with pytest.raises(SourceError, match=f"{name} is no linear"):
        collect(tiny.source, {name: AbsMax()}, tiny_models.tokens())


def test_an_overflow_names_the_linear(llama: Tiny) -> None:
    memory = llama.memory()
    memory.values["model.layers.0.mlp.up_proj.weight"][3] = 3e38
    name = "model.layers.0.mlp.down_proj.weight"
    with pytest.raises(SourceError, match=f"input of {name}: an activation is NaN or infinite"):
        collect(memory, {name: AbsMax()}, tiny_models.tokens())


def test_a_missing_tensor_is_named(llama: Tiny) -> None:
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        memory = llama.memory()
        del memory.tensors[name]
        with pytest.raises(SourceError, match=f"no tensor {name}"):
            collect(memory, {}, tiny_models.tokens())


def test_a_tensor_of_another_shape_is_named(llama: Tiny) -> None:
    memory = llama.memory()
    memory.values["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 64)
    with pytest.raises(
        SourceError, match=r"layers\.1\.\*: size mismatch for mlp\.up_proj"
    ) as caught:
        collect(memory, {}, tiny_models.tokens())
    assert "\n" not in str(caught.value)


def test_an_unknown_model_type_is_refused(llama: Tiny) -> None:
    memory = llama.memory()
    memory.config["model_type"] = "mystery"
    with pytest.raises(SourceError, match="transformers does not know model_type 'mystery'"):
        collect(memory, {}, tiny_models.tokens())


def test_a_config_that_contradicts_the_tensors_is_refused(llama: Tiny) -> None:
    memory = llama.memory()
    memory.config["hidden_size"] = "many"
    with pytest.raises(SourceError, match=r"cannot build llama from config\.json") as caught:
        collect(memory, {}, tiny_models.tokens())
    assert "\n" not in str(caught.value)


def test_code_that_a_checkpoint_brings_is_not_run(llama: Tiny, tmp_path: Path) -> None:
    memory = llama.memory()
    memory.config["auto_map"] = {"AutoModelForCausalLM": f"{tmp_path}--evil.Model"}
    name = "model.layers.0.self_attn.q_proj.weight"
    found = collect(memory, {name: AbsMax()}, tiny_models.tokens())
    assert found[name].tokens == 4 * LENGTH


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.full((2, 8), 128), "token 128"),
        (torch.zeros(1, 129, dtype=torch.int64), "--context 128"),
        (torch.zeros(8), "windows are int64"),
    ],
)
def test_windows_the_model_cannot_read(llama: Tiny, tokens: Tensor, message: str) -> None:
    with pytest.raises(TextError, match=message):
        collect(llama.source, {}, tokens)
