"""What surrounds the weights of an artifact, and the check that it can be read."""

from pathlib import Path

from tersor.checkpoints.files import json_text
from tersor.checkpoints.hub.card_header import base_model_of, licence_of
from tersor.checkpoints.huggingface.permissions import needed_flags
from tersor.checkpoints.source import Source
from tersor.errors import ReadBackError
from tersor.formats import Format, Formats, readings_line
from tersor.pipeline.planning import Plan
from tersor.pipeline.planning.layout import chosen_format
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.writing.digests import linear_digest
from tersor.pipeline.writing.repetition import source_name
from tersor.recipes import dump
from tersor.report import RECIPE, CardFacts, LayerRecord, model_card, quantize_command
from tersor.runtime.artifact import artifact_of
from tersor.version import versions


def texts_about(source: Source, result: QuantizeResult) -> dict[str, str]:
    """Recipe, record and model card, by the names of their files."""
    return {
        RECIPE: dump(result.plan.recipe),
        "tersor.json": json_text(result.record()),
        "README.md": model_card(_facts(source, result), result.layers),
    }


def verify(staging: Path, format_: Format, records: tuple[LayerRecord, ...]) -> None:
    """Read every quantized linear back through the format's decoder and compare it with its record.

    Raises :class:`ReadBackError` naming the first that differs.
    """
    directory = staging if format_.container.file is None else staging / format_.container.file
    artifact = artifact_of(format_.container.open(directory), Formats.of(format_))
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


def _facts(source: Source, result: QuantizeResult) -> CardFacts:
    plan = result.plan
    name = source_name(source.path)
    texts = [use.text for use in result.calibration[0].texts] if result.calibration else []
    given = [text.name for text in texts if not text.built_in]
    return CardFacts(
        title=f"{name.removesuffix('.gguf')} ({plan.recipe.name})",
        base_model=name,
        licence=licence_of(source.path, source.config),
        recipe_name=plan.recipe.name,
        recipe_description=plan.recipe.description,
        recipe_yaml=dump(plan.recipe),
        scheme=str(plan.recipe.scheme),
        method=plan.format,
        source_bytes=plan.source_bytes,
        total_bytes=plan.bytes,
        bits_per_weight=plan.bits_per_weight,
        bits_per_quantized_weight=plan.bits_per_quantized_weight,
        version=versions()["tersor"],
        readers=readings_line(plan.readings()),
        notes=result.notes,
        texts=tuple(f"{text.done} on {text.line()}" for text in result.calibration),
        source_digest=result.source_digest,
        given=tuple(given),
        hub_base=base_model_of(source.path),
        command=quantize_command(name, given, [*needed_flags(source.path), *_format_flags(plan)]),
    )


def _format_flags(plan: Plan) -> list[str]:
    """What the format must be asked for by, where another one would be chosen."""
    first, _ = chosen_format(plan.contents(), None)
    return [] if first.name == plan.format else ["--format", plan.format]
