"""The plug-in that teaches transformers to load ``quant_method: "tersor"``.

transformers has no discovery of quantization methods: it skips those that it does not know. So
artifacts name a file of weights that there is not, by which it refuses them without this module
(:mod:`tersor.formats.kinds.own`); those of before load as random weights, with a
warning. People import it as :mod:`tersor.hf`.

Everything that depends on the version of transformers' quantizer interface (5.x) is in this file.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.core_model_loading import (
    Concatenate,
    ConversionOps,
    Interleave,
    MergeModulelist,
    Transpose,
    WeightConverter,
)
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from tersor.errors import FormatError
from tersor.formats import METHOD, Format, QuantizedLinear, StackedExperts, known_formats
from tersor.formats.kinds.own import FORMAT
from tersor.formats.kinds.own.description import WEIGHTS_KEY, schemes_of, stacked_experts
from tersor.grids import Scheme
from tersor.models.in_transformers.names import Names
from tersor.runtime.linears.simulated_inputs import attach

STORED_AS = "stored_as"
"""Key that only :func:`tersor.load` adds to a description in memory: what the artifact says."""


@register_quantization_config(FORMAT.name)
class TersorConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """``quantization_config`` of an artifact in tersor's own format."""

    def __init__(self, **config: Any) -> None:
        """Keep the dictionary of ``config.json``; :mod:`tersor.formats.kinds.own` reads it."""
        self.quant_method = FORMAT.name
        self.description = {key: value for key, value in config.items() if key != "dequantize"}
        # The model that is loaded is an ordinary one with dequantized weights.
        self.dequantize = True

    def to_dict(self) -> dict[str, Any]:
        """As in ``config.json``."""
        return dict(self.description)


@register_quantizer(FORMAT.name)
class TersorQuantizer(HfQuantizer):  # type: ignore[misc]
    """Dequantizes weights while they are loaded, and simulates activation quantization."""

    requires_calibration = True

    def __init__(self, quantization_config: TersorConfig, **kwargs: Any) -> None:
        """See transformers' ``HfQuantizer``."""
        super().__init__(quantization_config, **kwargs)
        description = quantization_config.description
        self.format = _stored_format(description)
        self.serialized_names = {"weight": ["weight", *self.format.marks]}
        self.schemes = _Schemes(schemes_of(description), description.get("transposed", ()))
        self.inputs: dict[str, QuantizedLinear] = {}

    def update_attn_implementation(self, config: Any) -> Any:
        """The config without what makes others refuse it; called before weights are looked for."""
        _find_weights(config)
        return config

    # What the first versions of transformers 5 call at that place.
    update_tp_plan = update_attn_implementation

    def update_weight_conversions(self, weight_conversions: list[Any], model: nn.Module) -> Any:
        """With those that put experts together which transformers has no names for."""
        self.schemes.learn(model)
        stacked = stacked_experts(self.quantization_config.description)
        added = [_stacking(one) for one in stacked]
        merging = [one for one in weight_conversions if _merges_experts(one)]
        # Others work on tensors that are never quantized.
        rest = [one for one in weight_conversions if not _merges_experts(one)]
        return [*rest, *super().update_weight_conversions([*added, *merging], model)]

    def get_load_operations(self) -> dict[str, type]:
        """The operation that turns stored tensors into a dense weight."""
        return {"dequantize": Dequantize}

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
        del kwargs
        attach(model, self.inputs)
        return model

    def is_serializable(self) -> bool:
        """What is loaded can be saved, as a dense model."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Dequantized weights are ordinary parameters."""
        return True


def _stored_format(description: Mapping[str, Any]) -> Format:
    """The format of the tensors: another one's may be described as tersor's own describes them."""
    stored = description.get(STORED_AS)
    if not isinstance(stored, Mapping):
        return FORMAT
    return known_formats().named(str(stored[METHOD])).as_described(stored)


def _find_weights(config: Any) -> None:
    """Let the weights of a config, and of its parts, be where they always are."""
    vars(config).pop(WEIGHTS_KEY, None)
    for part in vars(config).values():
        if isinstance(part, PreTrainedConfig):
            _find_weights(part)


def _merges_experts(conversion: Any) -> bool:
    return isinstance(conversion, WeightConverter) and isinstance(
        conversion.operations[0], MergeModulelist
    )


def _stacking(experts: StackedExperts) -> WeightConverter:
    """Single experts → the tensor with three axes that holds them all."""
    operations: list[ConversionOps] = [MergeModulelist(dim=0)]
    if len(experts.parts) > 1:
        operations.append(Concatenate(dim=1))
    if experts.interleaved:
        operations.append(Interleave(dim=1, inverse=True))
    if experts.transposed:
        operations.append(Transpose(1, 2))
    sources = [f"{part}.weight" for part in experts.parts]
    return WeightConverter(sources, experts.parameter, operations)


class _Schemes:
    """Schemes by module, however the model in memory calls what lies on disk."""

    def __init__(self, schemes: Mapping[str, Scheme], transposed: list[str]) -> None:
        self._schemes, self._transposed = dict(schemes), frozenset(transposed)
        self._on_disk: dict[str, list[str]] = {}

    def learn(self, model: nn.Module) -> None:
        """Which parameters of ``model`` are made of which modules on disk."""
        names = Names(model, [f"{module}.weight" for module in self._schemes])
        for name, slot in names.slots.items():
            self._on_disk.setdefault(slot.parameter, []).append(name.removesuffix(".weight"))

    def find(self, module: str) -> tuple[Scheme, bool]:
        """Scheme of a module in memory, and whether its weight is ``(in, out)``."""
        found = self._on_disk.get(f"{module}.weight", [])
        if len(found) == 1:
            return self._schemes[found[0]], found[0] in self._transposed
        for name, scheme in self._candidates(module):
            if name in (module, module.partition(".")[2]) or name.partition(".")[2] == module:
                return scheme, name in self._transposed
        raise FormatError(f"quantization_config does not describe module {module}")

    def find_experts(self, parameter: str, pattern: str) -> Scheme:
        """The scheme that all experts of a pattern ``….experts.*.up_proj`` share.

        ``parameter``: what they are parts of in memory.
        """
        start, _, end = pattern.partition("*")
        made_of = self._on_disk.get(parameter)
        names = made_of or [name for name in self._schemes if start in name]
        found = {self._schemes[name] for name in names if name.endswith(end)}
        if len(found) != 1:
            raise FormatError(f"{pattern}: fused experts need one scheme, found {len(found)}")
        return found.pop()

    def _candidates(self, module: str) -> list[tuple[str, Scheme]]:
        leaf = module.rpartition(".")[2]
        return [(n, s) for n, s in self._schemes.items() if n.rpartition(".")[2] == leaf]


class Dequantize(ConversionOps):  # type: ignore[misc]
    """Stored tensors of a module, or of all experts of a block, to dense weights."""

    def __init__(self, quantizer: TersorQuantizer) -> None:
        """``quantizer`` knows the schemes."""
        # transformers leaves the types of stored tensors alone if an operation has this attribute.
        self.hf_quantizer = quantizer

    def __deepcopy__(self, memo: object) -> "Dequantize":
        """transformers copies operations per module; all copies report to one quantizer."""
        return self

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        full_layer_name: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """See transformers' ``ConversionOps``."""
        del source_patterns, target_patterns
        assert full_layer_name is not None
        dtype = kwargs["model"].get_parameter(full_layer_name).dtype
        if all("." not in key for key in input_dict):
            return {full_layer_name: self._module(full_layer_name, input_dict, dtype)}
        return self._experts(full_layer_name, input_dict, dtype)

    def _module(self, name: str, stored: dict[str, Any], dtype: torch.dtype) -> Tensor:
        tensors = {suffix: _single(value) for suffix, value in stored.items()}
        if tensors.keys() == {"weight"}:
            return tensors["weight"].to(dtype)
        module = name.removesuffix(".weight")
        scheme, transposed = self.hf_quantizer.schemes.find(module)
        linear = self.hf_quantizer.format.linear(tensors, scheme, module)
        if scheme.activations is not None:
            self.hf_quantizer.inputs[module] = linear
        weight = linear.weight.dequantize(dtype)
        return weight.T.contiguous() if transposed else weight

    def _experts(self, name: str, stored: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
        """Pattern of a dense weight → one dense weight per expert, for the merge that follows."""
        parts: dict[str, dict[str, list[Tensor]]] = {}
        for pattern, values in stored.items():
            module, _, suffix = pattern.rpartition(".")
            parts.setdefault(module, {})[suffix] = values if isinstance(values, list) else [values]
        layer = name.partition(".experts")[0]
        dense = {}
        for module, suffixes in parts.items():
            if suffixes.keys() == {"weight"}:
                dense[f"{module}.weight"] = [tensor.to(dtype) for tensor in suffixes["weight"]]
                continue
            pattern = _experts_pattern(layer, module)
            scheme = self.hf_quantizer.schemes.find_experts(name, pattern)
            count = min(map(len, suffixes.values()))
            stacks = [{s: values[i] for s, values in suffixes.items()} for i in range(count)]
            linears = (self.hf_quantizer.format.linear(one, scheme, module) for one in stacks)
            dense[f"{module}.weight"] = [one.weight.dequantize(dtype) for one in linears]
        return dense


def _experts_pattern(layer: str, module: str) -> str:
    block = layer.rpartition(".")[0]
    return f"{block}.*.{module.rpartition('.')[2]}"


def _single(value: Any) -> Tensor:
    tensor: Tensor = value[0] if isinstance(value, list) else value
    return tensor
