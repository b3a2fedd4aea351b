"""``adapter_config.json`` of a LoRA adapter, as the package peft writes it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json
from tersor.errors import SourceError

ADAPTER_CONFIG = "adapter_config.json"
# Fields that say nothing about the merged weights, or that the tensors' own names and shapes say.
_INERT = frozenset({
    "auto_mapping", "base_model_name_or_path", "bias", "eva_config", "exclude_modules",
    "inference_mode", "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core",
    "modules_to_save", "peft_version", "qalora_group_size", "revision", "target_modules",
    "task_type",
})  # fmt: skip
_READ = frozenset({
    "alpha_pattern", "fan_in_fan_out", "init_lora_weights", "lora_alpha", "peft_type", "r",
    "rank_pattern", "use_rslora",
})  # fmt: skip
# Other initializations change the weights of the base model itself.
_INITIAL = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraSettings:
    """What decides how ``B A`` is added. https://arxiv.org/abs/2106.09685"""

    path: Path
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    root: bool
    fan_in_fan_out: bool

    def scale_of(self, module: str, rank: int) -> float:
        """The factor of ``B A`` for ``module``, whose matrices have the rank ``rank``.

        alpha / r, or alpha / √r with rsLoRA (https://arxiv.org/abs/2312.03732).

        Raises:
            SourceError: the settings say another rank.
        """
        said = _by_pattern(self.ranks, module, self.rank)
        if said != rank:
            raise SourceError(
                f"{self.path}: says rank {said} for {module!r}, its matrices have {rank}; "
                "download the adapter again"
            )
        alpha: float = _by_pattern(self.alphas, module, self.alpha)
        return alpha / math.sqrt(rank) if self.root else alpha / rank


def refuse_adapter(directory: Path) -> None:
    """Refuse a model directory with an adapter in it, which transformers would apply.

    Raises:
        SourceError: there is an ``adapter_config.json``.
    """
    if (directory / ADAPTER_CONFIG).exists():
        raise SourceError(
            f"{directory / ADAPTER_CONFIG}: an adapter that changes this model; merge it with "
            "--merge-adapter (of quantize, compare and restore), or move it out of the directory"
        )


def read_settings(directory: Path) -> LoraSettings:
    """The settings of the adapter in ``directory``.

    Raises:
        SourceError: not LoRA, or with anything whose merging is not known.
    """
    path = directory / ADAPTER_CONFIG
    fields = read_json(path)
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise _unknown(path, f"peft_type {kind!r}")
    for key in sorted(fields.keys() - _INERT - _READ):
        if fields[key]:
            raise _unknown(path, f"{key} {fields[key]!r}")
    if fields.get("init_lora_weights") not in _INITIAL:
        raise _unknown(path, f"init_lora_weights {fields['init_lora_weights']!r}")
    patterns = [fields.get(key) or {} for key in ("rank_pattern", "alpha_pattern")]
    values = (fields.get("r"), fields.get("lora_alpha"))
    numbers = [*values, *(v for p in patterns if isinstance(p, Mapping) for v in p.values())]
    whole = all(isinstance(pattern, Mapping) for pattern in patterns)
    if not whole or not all(_is_number(number) for number in numbers) or fields["r"] < 1:
        raise SourceError(f"{path}: r, lora_alpha or their patterns are not numbers; mend the file")
    return LoraSettings(
        path,
        fields["r"],
        fields["lora_alpha"],
        patterns[0],
        patterns[1],
        bool(fields.get("use_rslora")),
        bool(fields.get("fan_in_fan_out")),
    )


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """A pattern is a regular expression for the whole name or for its last parts."""
    for pattern, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            raise SourceError(
                f"the adapter's pattern {pattern!r} is not regular: {error}"
            ) from error
    return default


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unknown(path: Path, what: str) -> SourceError:
    return SourceError(
        f"{path}: {what} cannot be merged, only plain LoRA can; merge it with peft's own "
        "merge_and_unload first"
    )
