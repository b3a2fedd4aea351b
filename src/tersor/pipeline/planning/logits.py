"""How logits come from a model's last hidden states."""

from tersor.checkpoints.source import Source, shapes_of
from tersor.errors import SourceError
from tersor.models.architecture import Architecture
from tersor.models.probing import LogitRule, logit_rule


def trainable_logits(source: Source, architecture: Architecture) -> LogitRule:
    """As :func:`known_logits`, for training."""
    so = "there is nothing to train by; use a recipe that does not train, such as gptaq"
    return known_logits(source, architecture, so)


def known_logits(source: Source, architecture: Architecture, so: str) -> LogitRule:
    """How logits come from the final norm's output.

    Raises :class:`SourceError` where that is not known; ``so``: what follows, and the way out.
    """
    rule = logit_rule(architecture, source.config, shapes_of(source))
    if rule is None or head_of(architecture) is None:
        raise SourceError(
            f"{source.path}: logits are not the product of the final norm's output and the head, "
            f"so {so}"
        )
    return rule


def head_of(architecture: Architecture) -> str | None:
    """The tensor that makes logits: the head, or the embedding that it is tied to."""
    return architecture.embedding if architecture.head is None else architecture.head
