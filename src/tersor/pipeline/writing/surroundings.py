"""What surrounds the weights of an artifact, and the check that it can be read."""

from pathlib import Path
from typing import Any

from tersor.checkpoints.files import write_json, write_text
from tersor.checkpoints.huggingface.permissions import needed_flags
from tersor.checkpoints.source import Source
from tersor.errors import ReadBackError
from tersor.formats import own
from tersor.formats.kinds.compressed_tensors.engines import Reading, readings_line
from tersor.pipeline.result import Result
from tersor.pipeline.writing.digests import linear_digest
from tersor.pipeline.writing.repetition import source_name
from tersor.recipes import dump
from tersor.report import RECIPE, CardFacts, LayerRecord, damaged, model_card, quantize_command
from tersor.runtime.artifact import open_artifact
from tersor.version import versions


def write_description(source: Source, result: Result, directory: Path) -> None:
    """Write ``config.json``, the tokenizer and its companions, recipe, records and model card."""
    plan = result.plan
    config = dict(source.config) | {"quantization_config": plan.quantization_config(source.config)}
    config.pop(own.WEIGHTS_KEY, None)  # of the source, whose files have other names
    if plan.method == own.METHOD:
        config = own.refused_by_others(config)
    source.copy_companions(directory)
    write_json(directory / "config.json", config)
    write_text(directory / RECIPE, dump(plan.recipe))
    write_json(directory / "tersor.json", description(source, result))
    write_text(directory / "README.md", model_card(_facts(source, result), result.records))


def description(source: Source, result: Result) -> dict[str, Any]:
    """``tersor.json``: where the artifact comes from and what happened to each matrix.

    Nothing in it depends on when or how fast it was made: same input and arithmetic, same bytes.
    """
    plan = result.plan
    return {
        "versions": versions(),
        "source": {"name": source_name(source.path), "digest": result.source_digest},
        "digest": None if plan.recipe.made is None else plan.recipe.made.result,
        "calibration": [text.to_dict() for text in result.texts],
        "seed": plan.recipe.seed,
        "recipe": plan.recipe.name,
        "format": plan.method,
        "bytes": plan.total_bytes,
        "source_bytes": plan.source_bytes,
        "bits_per_weight": round(plan.bits_per_weight, 4),
        "bits_per_quantized_weight": round(plan.bits_per_quantized_weight, 4),
        "readers": [reading(found) for found in plan.readings()],
        "damaged": [_damage(record) for record in damaged(result.records)],
        "notes": list(result.notes),
        "layers": [record.to_dict() for record in result.records],
    }


def reading(found: Reading) -> dict[str, Any]:
    """Whether an engine reads the artifact, as plain JSON types."""
    return {"engine": found.engine, "reads": found.reads} | {
        key: value for key in ("condition", "reason", "instead") if (value := getattr(found, key))
    }


def _damage(record: LayerRecord) -> dict[str, Any]:
    """JSON has no infinities: a matrix without signal has no ``sqnr_db``, but ``damage``."""
    return {
        "module": record.module,
        "damage": record.damage,
        "sqnr_db": record.to_dict()["sqnr_db"],
        "output_error": record.output_error,
    }


def verify(directory: Path, records: tuple[LayerRecord, ...]) -> None:
    """Read every quantized linear back through the format's decoder and compare it with its record.

    Raises :class:`ReadBackError` naming the first that differs.
    """
    artifact = open_artifact(directory)
    meant = {record.module: record.digest for record in records if record.digest}
    if set(meant) != set(artifact.schemes):
        odd = sorted(set(meant) ^ set(artifact.schemes))[0]
        raise ReadBackError(f"{directory}: {odd} is not described as it was meant")
    for module, digest in meant.items():
        if linear_digest(artifact.linear(module)) != digest:
            raise ReadBackError(
                f"{directory}: {module} reads back differently than it was quantized; "
                "check the disk and run again"
            )


def _facts(source: Source, result: Result) -> CardFacts:
    plan = result.plan
    name = source_name(source.path)
    texts = [use.text for use in result.texts[0].texts] if result.texts else []
    given = [text.name for text in texts if not text.built_in]
    return CardFacts(
        title=f"{name.removesuffix('.gguf')} ({plan.recipe.name})",
        base_model=name,
        licence=source.config.get("license"),
        recipe_name=plan.recipe.name,
        recipe_description=plan.recipe.description,
        recipe_yaml=dump(plan.recipe),
        scheme=str(plan.recipe.scheme),
        method=plan.method,
        source_bytes=plan.source_bytes,
        total_bytes=plan.total_bytes,
        bits_per_weight=plan.bits_per_weight,
        bits_per_quantized_weight=plan.bits_per_quantized_weight,
        version=versions()["tersor"],
        readers=readings_line(plan.readings()),
        notes=result.notes,
        texts=tuple(f"{text.done} on {text.line()}" for text in result.texts),
        source_digest=result.source_digest,
        given=tuple(given),
        command=quantize_command(name, given, needed_flags(source.path)),
    )
