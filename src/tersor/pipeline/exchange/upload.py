"""A quantized model sent to a hub: only what can be read, and never without a card."""

from pathlib import Path

from tersor.checkpoints.hub.card_header import CARD, base_model_of, licence_of
from tersor.checkpoints.hub.sending import UploadResult, repository_named, send
from tersor.report.conversion_card import card_header_lines
from tersor.runtime.artifact import open_artifact


def upload_model(path: Path, name: str, *, private: bool) -> UploadResult:
    """Send the artifact at ``path`` to ``org/name``; what has no card gets a header for hubs.

    Raises :class:`~tersor.errors.SourceError` and :class:`~tersor.errors.FormatError` for what is
    no quantized model or is damaged, and what :func:`send` raises.
    """
    repository_named(name)
    artifact = open_artifact(path)
    licence = licence_of(path, artifact.config)
    header = card_header_lines(artifact.format.name, licence, base_model_of(path))
    card = "\n".join([*header, f"# {path.name}", ""])
    return send(path, name, private=private, cards={CARD: card})
