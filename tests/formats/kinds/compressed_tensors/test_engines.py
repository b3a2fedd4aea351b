"""Which engines read an artifact: the reason where one does not, and what it reads near to it."""

from dataclasses import replace

import pytest

from every_scheme import MXFP4, NVFP4
from tersor.formats import Contents, Format, Matrix, Reading, readings_line
from tersor.formats.kinds import compressed_tensors, own
from tersor.grids import Granularity, Scheme, TensorScheme
from tersor.models.architecture import Role
from tersor.models.describing import describe
from tersor.recipes import Adjustments, load_recipe, preset_names

LINEAR = Matrix("model.layers.0.mlp.up_proj", (96, 64), Role.LINEAR, load_recipe("w4").scheme)
EMBEDDING = replace(LINEAR, module="model.embed_tokens", role=Role.EMBEDDING)
HEAD = replace(LINEAR, module="lm_head", role=Role.HEAD)
VLLM, VLLM_CPU, SGLANG = "vLLM on GPUs", "vLLM on CPUs", "SGLang"
ALL = {"tersor", "transformers", VLLM, VLLM_CPU, SGLANG}


ARCHITECTURE = describe({"model_type": "unheard"}, {f"{LINEAR.module}.weight": LINEAR.shape})


def readings(format_: Format, *stored: Matrix) -> tuple[Reading, ...]:
    return format_.readings(Contents(ARCHITECTURE, stored))


def found(*stored: Matrix, format_: Format = compressed_tensors.FORMAT) -> dict[str, Reading]:
    return {reading.engine: reading for reading in readings(format_, *stored)}


def of(preset: str, **adjustments: object) -> Matrix:
    recipe = Adjustments(**adjustments).apply(load_recipe(preset))  # type: ignore[arg-type]
    return replace(LINEAR, scheme=recipe.scheme)


@pytest.mark.parametrize("preset", ["w4", "w4-asym", "w8a8", "gptq", "awq", "smoothquant"])
def test_what_every_known_engine_reads(preset: str) -> None:
    assert {name for name, reading in found(of(preset)).items() if reading.reads} == ALL


@pytest.mark.parametrize(
    ("stored", "engines", "reason", "instead"),
    [
        (of("vanilla-int8", group_size=64), {VLLM_CPU}, "W8A16", "choose w8a8"),
        (of("mxfp4"), {VLLM_CPU}, "FP4", "choose w4"),
        (of("nvfp4"), {VLLM_CPU}, "FP4", "choose w4"),
        (of("fp8"), {VLLM_CPU}, "FP8", "choose w8a8"),
        (of("w3"), {VLLM, VLLM_CPU, SGLANG}, "3 bits", "choose w4"),
        (of("w2"), {VLLM, VLLM_CPU, SGLANG}, "2 bits", "choose w4"),
        (of("w4", group_size=16), {VLLM, VLLM_CPU, SGLANG}, "groups of 16", "--group-size 64"),
        (
            replace(LINEAR, shape=(90, 64)),
            {VLLM_CPU},
            "multiples of 32",
            f"exclude {LINEAR.module}",
        ),
        (EMBEDDING, {VLLM, VLLM_CPU, SGLANG}, "embeddings", "--exclude model.embed_tokens"),
        (
            replace(
                HEAD,
                scheme=Scheme(replace(LINEAR.scheme.weights, grid=of("w8a8").scheme.weights.grid)),
            ),
            {VLLM_CPU},
            "W8A16 (lm_head)",
            "--exclude lm_head",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_some_do_not_read(
    stored: Matrix, engines: set[str], reason: str, instead: str
) -> None:
    refused = {n: reading for n, reading in found(stored).items() if not reading.reads}
    assert set(refused) == engines
    assert all(reason in reading.reason for reading in refused.values())
    assert all(instead in reading.instead for reading in refused.values())


@pytest.mark.parametrize(
    "weights", [MXFP4, NVFP4, TensorScheme(LINEAR.scheme.weights.grid, Granularity.TENSOR)]
)
def test_packed_weights_with_activations_or_one_scale(weights: TensorScheme) -> None:
    scheme = Scheme(weights, of("w8a8").scheme.activations)
    assert not found(replace(LINEAR, scheme=scheme))[VLLM].reads
    alone = found(replace(LINEAR, scheme=Scheme(weights)))[VLLM]
    assert alone.reads == (weights in (MXFP4, NVFP4))


def test_the_own_format_is_for_tersor_and_transformers() -> None:
    reading = found(of("nf4"), format_=own.FORMAT)
    assert {name for name, one in reading.items() if one.reads} == {"tersor", "transformers"}
    assert str(reading["transformers"]) == "transformers (after import tersor.hf)"


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_one_line_with_a_way_out(preset: str) -> None:
    line = readings_line(readings(compressed_tensors.FORMAT, of(preset)))
    assert "\n" not in line
    assert line.startswith("tersor, transformers")
    for part in line.split("; not ")[1:]:
        assert "choose" in part or "--" in part


def test_the_line() -> None:
    line = readings_line(readings(compressed_tensors.FORMAT, of("vanilla-int8")))
    assert line == (
        "tersor, transformers, vLLM on GPUs, SGLang; "
        "not vLLM on CPUs: it has no kernel for W8A16; choose w8a8"
    )


def test_an_embedding_of_its_own_scheme_is_for_the_own_format() -> None:
    eight = replace(EMBEDDING, scheme=Scheme(of("vanilla-int8").scheme.weights))
    reading = found(LINEAR, eight, format_=own.FORMAT)
    assert reading["vLLM on GPUs"].instead == "--exclude model.embed_tokens"


def test_several_schemes_with_packed_zero_points() -> None:
    mixed = found(LINEAR, of("w4-asym"))
    assert not mixed["transformers"].reads
    assert mixed[VLLM].reads
    assert found(of("w4-asym"))["transformers"].reads


def test_one_reason_is_said_once() -> None:
    line = readings_line(readings(own.FORMAT, of("nf4")))
    assert line == (
        "tersor, transformers (after import tersor.hf); not vLLM on GPUs, vLLM on CPUs, SGLang: "
        "they do not read tersor's own format; choose w4 or w8a8 in groups that divide"
    )
