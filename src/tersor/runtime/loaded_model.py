"""The type of what ``load`` returns, for checkers of types; transformers has no name for it."""

from transformers import GenerationMixin, PreTrainedModel


class LoadedModel(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A transformers model that has logits for text and generates it; never made itself."""
