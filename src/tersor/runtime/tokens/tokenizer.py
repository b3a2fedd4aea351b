"""A tokenizer without transformers."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from tersor.checkpoints.gateway.snapshot import Snapshot


class TextTokenizer:
    """What a :class:`Snapshot` of a tokenizer does; named as in transformers.

    ``name_or_path``: the directory that it comes from.
    """

    def __init__(self, taken: Snapshot, place: str) -> None:
        """Raises whatever the tokenizers package raises for a backend that is none."""
        self.name_or_path = place
        self.chat_template = taken.chat_template
        self.special_tokens_map = dict(taken.specials)
        self._backend = Tokenizer.from_str(taken.backend)
        self._backend.no_padding()
        self._backend.no_truncation()
        self._backend.encode_special_tokens = taken.splits_special

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Tokens of a text, with those that belong in front of a whole one and behind it."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of some tokens."""
        text: str = self._backend.decode(token_ids, skip_special_tokens=skip_special_tokens)
        return text
