"""What a converted artifact says of itself."""

from tersor.checkpoints.files import json_text
from tersor.checkpoints.hub.card_header import CARD, base_model_of, licence_of
from tersor.formats import Contents, Format, readings_line
from tersor.pipeline.writing.repetition import source_name
from tersor.report.conversion_card import ConversionFacts, conversion_card
from tersor.runtime.artifact import Artifact
from tersor.version import own_version


def texts_about(
    artifact: Artifact, target: Format, contents: Contents, nbytes: int, notes: tuple[str, ...]
) -> dict[str, str]:
    """Record and model card of an artifact written as ``target``, by the names of their files."""
    source = artifact.source
    name = source_name(source.path)
    facts = ConversionFacts(
        title=f"{name.removesuffix('.gguf')} ({target.name})",
        source=name,
        source_format=artifact.format.name,
        format=target.name,
        modules=len(contents.matrices),
        bytes=nbytes,
        version=own_version(),
        readers=readings_line(target.readings(contents)),
        base_model=base_model_of(source.path),
        licence=licence_of(source.path, source.config),
        notes=notes,
    )
    record = {"converted_from": artifact.format.name, "source": name}
    return {"tersor.json": json_text(record), CARD: conversion_card(facts)}
