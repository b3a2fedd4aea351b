"""compressed-tensors: its own code reads what we describe, and means the same weights."""

from typing import Any

import pytest
import torch
from torch import Tensor

from every_scheme import (
    BLOCK_FORMATS,
    CODEBOOKS,
    FITTED,
    FLOATS,
    FP8_TOKEN,
    INT8_GROUP,
    INT8_TOKEN,
    INTEGERS,
    LINEARS,
    MXFP4,
    NVFP4,
    STATIC,
    STATIC_ASYMMETRIC,
    gaussian,
    granularities,
    hard,
    label,
)
from tersor.errors import FormatError
from tersor.formats import METHOD, QuantizedLinear
from tersor.formats.kinds.compressed_tensors import FORMAT, description
from tersor.grids import (
    ActivationScheme,
    FloatGrid,
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    Symmetry,
    TensorScheme,
    fp4,
    nf4,
)
from tersor.ranges import MinMax
from tersor.rounding import nearest

SHAPE = (33, 128)
SUPPORTED = [scheme for scheme in LINEARS if FORMAT.obstacle(scheme, SHAPE) is None]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]

INT4 = Scheme(TensorScheme(IntegerGrid(4, Symmetry.FULL), Granularity.GROUP, 32))
INT8 = Scheme(TensorScheme(IntegerGrid(8, Symmetry.FULL), Granularity.CHANNEL))
INT8_NONE = Scheme(TensorScheme(IntegerGrid(8, Symmetry.NONE), Granularity.CHANNEL))
W8A8 = Scheme(INT8.weights, INT8_TOKEN)


def described(groups: dict[Scheme, list[str]], ignore: list[str], **wishes: bool) -> dict[str, Any]:
    """As it stands in ``config.json``."""
    config = description.quantization_config(groups, ignore, **wishes)
    return {METHOD: FORMAT.name, **config}


def their_scheme(scheme: Scheme) -> Any:
    from compressed_tensors.quantization import QuantizationConfig

    config = described({scheme: ["layers.0.q_proj"]}, ["lm_head"])
    return QuantizationConfig.model_validate(config).config_groups["group_0"]


def their_weight(tensor: QuantizedTensor, scheme: Scheme) -> Tensor:
    from compressed_tensors.compressors import BaseCompressor

    theirs = their_scheme(scheme)
    compressor = BaseCompressor.get_value_from_registry(theirs.format)
    weight: Tensor = compressor.decompress(FORMAT.encode(QuantizedLinear(tensor, scheme)), theirs)[
        "weight"
    ]
    return weight


def test_all_that_should_be_supported_is() -> None:
    signed = {grid for grid in INTEGERS if grid.signed}
    described = {s.weights for s in SUPPORTED if s.activations is None}
    assert described >= {w for grid in (*signed, FLOATS[0]) for w in granularities(grid)}
    assert described >= {MXFP4, NVFP4}


@pytest.mark.parametrize("scheme", SUPPORTED, ids=label)
def test_their_decompressor_gives_our_weights_bit_for_bit(scheme: Scheme) -> None:
    for dtype in DTYPES:
        weight = torch.cat([gaussian(21, 128), hard(128)]).to(dtype)
        tensor = nearest(weight, scheme.weights, MinMax(), scale_dtype=dtype).tensor
        theirs = their_weight(tensor, scheme)
        # Their FP4 decompressors know no type but bfloat16, the others take that of the scales.
        stored = tensor.scale.data.dtype
        assert theirs.dtype == (torch.bfloat16 if scheme.weights in BLOCK_FORMATS else stored)
        ours = tensor.dequantize(theirs.dtype)
        assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


@pytest.mark.parametrize("exponent", [0, 1, 63, 127, 200, 253, 254])
def test_every_power_of_two_that_mxfp4_may_use(exponent: int) -> None:
    from tersor.grids import StoredScale

    codes = torch.arange(16, dtype=torch.uint8).repeat(1, 2)
    scale = StoredScale(torch.tensor([[exponent]], dtype=torch.uint8), ScaleFormat.E8M0)
    tensor = QuantizedTensor(codes, scale, None, MXFP4)
    assert torch.equal(tensor.dequantize(torch.bfloat16), their_weight(tensor, Scheme(MXFP4)))


@pytest.mark.parametrize("scheme", SUPPORTED, ids=label)
def test_their_schema_reads_our_description(scheme: Scheme) -> None:
    theirs = their_scheme(scheme)
    weights = theirs.weights
    assert weights.num_bits == scheme.weights.grid.bits
    assert weights.symmetric == scheme.weights.grid.symmetric
    assert weights.group_size == scheme.weights.group_size
    assert weights.dynamic is False
    nvfp4 = scheme.weights.scale_format is ScaleFormat.E4M3
    assert weights.strategy == ("tensor_group" if nvfp4 else scheme.weights.granularity)
    assert (theirs.input_activations is None) == (scheme.activations is None)
    if scheme.activations is not None:
        assert theirs.input_activations.dynamic == scheme.activations.dynamic


# Obstacles


@pytest.mark.parametrize(
    ("scheme", "columns", "message"),
    [
        *[
            (Scheme(TensorScheme(grid, Granularity.GROUP, 32)), 64, f"no grid {grid.name}")
            for grid in (*CODEBOOKS, *FITTED, FloatGrid("fp8_e5m2"))
        ],
        (INT4, 80, "80 input columns are no multiple of group size 32"),
        (Scheme(MXFP4), 80, "no multiple of group size 32"),
        (Scheme(INT8.weights, INT8_GROUP), 80, "no multiple of group size 32"),
        (
            Scheme(TensorScheme(fp4(), Granularity.GROUP, 16, ScaleFormat.E8M0)),
            64,
            "no e8m0 scales for groups of that size",
        ),
        (
            Scheme(TensorScheme(fp4(), Granularity.CHANNEL, None, ScaleFormat.E4M3)),
            64,
            "no e4m3 scales for groups of that size",
        ),
        (
            Scheme(
                INT8.weights,
                ActivationScheme(TensorScheme(FloatGrid("fp8_e5m2"), Granularity.TOKEN), True),
            ),
            64,
            "no activations on grid fp8_e5m2",
        ),
        (
            Scheme(INT8.weights, ActivationScheme(TensorScheme(nf4(), Granularity.TOKEN), True)),
            64,
            "no activations on grid nf4",
        ),
    ],
    ids=str,
)
def test_obstacles(scheme: Scheme, columns: int, message: str) -> None:
    found = FORMAT.obstacle(scheme, (8, columns))
    assert found is not None
    assert message in found


# The description


def test_dense_weights_are_asked_for_where_they_must_be() -> None:
    config = described({INT4: ["a.q"]}, [], dense=True)
    assert config["dequantize"] is True


def test_one_group_targets_the_class() -> None:
    config = described({INT4: ["a.q", "a.k"]}, ["lm_head", "a.gate"])
    assert config == {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": ["a.gate", "lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "format": "pack-quantized",
                "weights": {
                    "num_bits": 4,
                    "type": "int",
                    "symmetric": True,
                    "strategy": "group",
                    "group_size": 32,
                    "dynamic": False,
                },
                "input_activations": None,
                "output_activations": None,
            }
        },
    }


def readable(scheme: Scheme) -> Scheme:
    """The scheme as it can be told from a description: which symmetric grid was meant is lost."""

    def plain(tensor: TensorScheme, symmetric: Symmetry) -> TensorScheme:
        grid = tensor.grid
        if isinstance(grid, IntegerGrid):
            symmetry = symmetric if grid.symmetric else Symmetry.NONE
            grid = IntegerGrid(grid.bits, symmetry)
        return TensorScheme(grid, tensor.granularity, tensor.group_size, tensor.scale_format)

    activations = scheme.activations
    if activations is not None:
        tensor = plain(activations.tensor, Symmetry.RESTRICTED)
        activations = ActivationScheme(tensor, activations.dynamic)
    return Scheme(plain(scheme.weights, Symmetry.FULL), activations)


@pytest.mark.parametrize("scheme", SUPPORTED, ids=label)
def test_reading_inverts_writing(scheme: Scheme) -> None:
    config = described({scheme: ["a", "b"]}, [])
    found = description.schemes_of(config, ["a", "b"])
    assert found == {"a": readable(scheme), "b": readable(scheme)}


def test_reading_inverts_writing_several_groups() -> None:
    groups = {
        INT8_NONE: ["layers.0.down", "lm_head"],
        INT4: [f"layers.{i}.{leaf}" for i in range(3) for leaf in ("q", "k")],
        Scheme(MXFP4): ["layers.2.up"],
        Scheme(NVFP4): ["layers.2.gate"],
        W8A8: ["embed_tokens"],
        Scheme(INT8.weights, STATIC): ["layers.1.down"],
        Scheme(INT8.weights, STATIC_ASYMMETRIC): ["layers.2.down"],
        Scheme(TensorScheme(FLOATS[0], Granularity.TENSOR), FP8_TOKEN): ["layers.1.up"],
    }
    config = described(groups, [])
    assert config["format"] == "mixed-precision"
    assert config["config_groups"]["group_0"]["targets"] == ["Linear"]
    modules = [name for names in groups.values() for name in names]
    found = description.schemes_of(config, modules)
    assert found == {name: readable(s) for s, names in groups.items() for name in names}
    from compressed_tensors.quantization import QuantizationConfig

    assert len(QuantizationConfig.model_validate(config).config_groups) == len(groups)


def test_embeddings_in_the_largest_group_are_named() -> None:
    # Their class is not Linear.
    groups = {INT4: ["model.embed_tokens", "transformer.wte", "a", "b"], INT8: ["c"]}
    config = described(groups, [])
    targets = config["config_groups"]["group_0"]["targets"]
    assert targets == ["Linear", "model.embed_tokens", "transformer.wte"]


def test_a_name_wins_over_a_pattern_and_a_pattern_over_a_class() -> None:
    groups = {INT4: ["a.q", "a.k", "b.q"], INT8: ["a.q"]}
    config = described(groups, [])
    config["config_groups"]["group_0"]["targets"] = ["Linear"]
    config["config_groups"]["group_1"]["targets"] = ["re:a\\..*"]
    config["config_groups"]["group_2"] = {
        **described({INT8_NONE: []}, [])["config_groups"]["group_0"],
        "targets": ["a.k"],
    }
    found = description.schemes_of(config, ["b.q", "a.q", "a.k"])
    assert found == {"b.q": INT4, "a.q": INT8, "a.k": INT8_NONE}


def test_a_module_that_no_group_describes() -> None:
    config = described({INT4: ["a"]}, [])
    config["config_groups"]["group_0"]["targets"] = ["a"]
    with pytest.raises(FormatError, match="describes module other"):
        description.schemes_of(config, ["other"])


# Damage


def config_with(**changes: Any) -> dict[str, Any]:
    """A description in which one group, or its weights, is changed."""
    config = described({W8A8: ["a"]}, [])
    group = config["config_groups"]["group_0"]
    for key, value in changes.items():
        if key in group["weights"]:
            group["weights"][key] = value
        else:
            group[key] = value
    return config


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"config_groups": None},
        {"config_groups": {}},
        {"config_groups": []},
        {"config_groups": {"g": None}},
        {"config_groups": {"g": "W4A16"}},
        {"config_groups": {"g": []}},
        {"config_groups": {"g": {"targets": ["Linear"]}}},
        config_with(weights=None),
        config_with(weights=[]),
        config_with(weights={"num_bits": 4}),
        config_with(targets=None),
        config_with(targets=[1]),
        config_with(targets=["re:("]),
        config_with(input_activations="token"),
        config_with(input_activations={"num_bits": 8}),
        config_with(num_bits=7),
        config_with(num_bits="8"),
        config_with(num_bits=None),
        config_with(type="float", num_bits=16),
        config_with(type="posit"),
        config_with(type=None),
        config_with(strategy="block"),
        config_with(strategy="token"),
        config_with(strategy="group"),
        config_with(strategy=None),
        config_with(num_bits=4.0),
        config_with(symmetric="false"),
        config_with(symmetric=None),
    ],
    ids=lambda config: str(config)[:60],
)
def test_descriptions_that_make_no_sense(config: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="quantization_config"):
        description.schemes_of(config, ["a"])


@pytest.mark.parametrize("size", [0, -1, 1, "32", 32.0, True, None])
def test_group_sizes_that_make_no_sense(size: object) -> None:
    config = described({INT4: ["a"]}, [])
    config["config_groups"]["group_0"]["weights"]["group_size"] = size
    with pytest.raises(FormatError, match="quantization_config"):
        description.schemes_of(config, ["a"])
