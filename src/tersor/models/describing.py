"""``describe``: what the tensors of a checkpoint are, from its config, their names and shapes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tersor.errors import SourceError
from tersor.families.family import Family
from tersor.families.registry import FAMILIES
from tersor.models.architecture import Architecture, unknown_matrices
from tersor.models.discovery import block_containers, discover

_WEIGHT = ".weight"


def describe(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """The architecture of a checkpoint.

    ``config`` is ``config.json`` (of a multimodal model: the outer one), ``shapes`` maps every
    tensor name on disk to its shape. Raises ``SourceError`` if the names hold no numbered blocks,
    or if blocks of a known architecture are missing.
    """
    text = _text_config(config)
    family = FAMILIES.get(str(text.get("model_type", "")))
    if family is None:
        return _from_discovery(config, text, shapes, "")
    present = block_containers(shapes)
    container = next((name for name in family.blocks.containers if name in present), None)
    if container is None:
        reason = f"the tensor names are not those of {text['model_type']}"
        return _from_discovery(config, text, shapes, reason)
    return _from_table(family, container, text, shapes)


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part: ``text_config`` of a multimodal config, else the config."""
    text = config.get("text_config")
    if config.get("model_type") in FAMILIES or not isinstance(text, Mapping):
        return config
    outer = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
    return {**text, **outer}


def _from_table(
    family: Family,
    container: str,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
) -> Architecture:
    blocks = family.blocks
    head = next((f"{n}{_WEIGHT}" for n in blocks.head if f"{n}{_WEIGHT}" in shapes), None)
    tied = bool(config.get("tie_word_embeddings", family.tied))
    architecture = Architecture(
        model_type=str(config["model_type"]),
        known=True,
        note="",
        container=container,
        blocks=_count_blocks(container, config, shapes),
        linears=blocks.linears,
        shared_inputs=tuple(shared.resolved(config) for shared in blocks.shared_inputs),
        transposed=blocks.linears if blocks.transposed else (),
        writers=blocks.writers,
        norm_offset=blocks.norm_offset,
        centred=blocks.centred,
        sandwich=blocks.sandwich,
        heads=int(config.get(blocks.heads_key, family.heads)),
        embedding=_beside(container, blocks.embedding, shapes),
        positions=_beside(container, blocks.positions, shapes),
        head=head,
        tied=tied,
        final_norm=_beside(container, blocks.final_norm, shapes),
        fused_experts=blocks.fused_experts,
        renames=blocks.renames,
        untied_head=f"{blocks.head[0]}{_WEIGHT}",
    )
    return replace(architecture, note="; ".join(_surprises(architecture, shapes)))


def _from_discovery(
    config: Mapping[str, Any],
    text: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    reason: str,
) -> Architecture:
    found = discover(config, text, shapes)
    model_type = str(text.get("model_type", ""))
    no_table = f"no table for model_type {model_type!r}, so no pairs"
    return Architecture(
        model_type=model_type,
        known=False,
        note="; ".join(
            (reason or no_table, *found.notes, *_beyond(found.container, found.blocks, shapes))
        ),
        container=found.container,
        blocks=found.blocks,
        linears=found.linears,
        shared_inputs=(),
        transposed=found.transposed,
        writers=(),
        norm_offset=0.0,
        centred=False,
        sandwich=False,
        heads=int(text.get("num_attention_heads") or 0),
        embedding=found.embedding,
        positions=None,
        head=found.head,
        tied=bool(text.get("tie_word_embeddings", found.head is None)),
        final_norm=None,
        fused_experts=found.fused_experts,
        renames=(),
        converted=found.converted,
    )


def _beside(container: str, name: str | None, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The weight ``name`` of the module that holds the container, if it is on disk."""
    if name is None:
        return None
    parent, dot, _ = container.rpartition(".")
    full = f"{parent}{dot}{name}{_WEIGHT}"
    return full if full in shapes else None


def _count_blocks(
    container: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> int:
    present = block_containers(shapes)[container]
    depth = _depth(config) or max(present) + 1
    missing = sorted(set(range(depth)) - present)
    if missing:
        raise SourceError(
            f"{container}: no tensors for block {', '.join(map(str, missing))} of {depth}: "
            "the checkpoint is incomplete, or num_hidden_layers in config.json is wrong"
        )
    return depth


def _depth(config: Mapping[str, Any]) -> int | None:
    found = config.get("num_hidden_layers") or config.get("n_layer")
    return found if isinstance(found, int) and found > 0 else None


def _surprises(
    architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, ...]:
    """What a known family does not have in its table: left as it is, but never unmentioned."""
    notes = list(_beyond(architecture.container, architecture.blocks, shapes))
    unknown = unknown_matrices(architecture, shapes)
    if unknown:
        notes.append(
            f"not in the table of {architecture.model_type}, so left as they are: "
            f"{len(unknown)} tensors inside the blocks, the first is {unknown[0]}"
        )
    if architecture.embedding is None:
        notes.append("no input embedding among the tensors")
    if architecture.head is None and not architecture.tied:
        notes.append("no output head among the tensors though the config does not tie it")
    if architecture.head is not None and architecture.tied:
        notes.append(f"{architecture.head} is stored though the config ties it to the embedding")
    return tuple(notes)


def _beyond(container: str, blocks: int, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """What is said of blocks on disk that the model does not run."""
    more = sorted(number for number in block_containers(shapes)[container] if number >= blocks)
    if not more:
        return ()
    named = ", ".join(f"{container}.{number}" for number in more)
    return (
        f"{named}: beyond the {blocks} blocks that config.json has (multi-token prediction, or a "
        "model cut short), carried along as stored",
    )
