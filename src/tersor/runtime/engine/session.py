"""Sequences that the native decoder holds keys and values of."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.errors import NonFiniteWeight

# Tokens of a prompt that run together: enough to read weights once for many, few enough for the
# activations between two linears to stay in the caches.
CHUNK = 512


class Session:
    """A native decoder and the tokens that each of its slots holds.

    May be used from several threads: calls wait for each other.
    """

    def __init__(
        self, decoder: _native.Decoder, slots: int, vocabulary: int, window: int = 0
    ) -> None:
        """``decoder``: made for ``slots`` sequences and :data:`CHUNK` tokens at a time.

        ``window``: the smallest of its layers' windows, 0 if all of them see all positions.
        """
        self._decoder, self._vocabulary, self._window = decoder, vocabulary, window
        self._held: list[list[int]] = [[] for _ in range(slots)]
        # How far each slot was run since its first token was.
        self._reached = [0] * slots
        self._lock = threading.RLock()

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values when every slot is full."""
        return self._decoder.cache_bytes

    def extend(self, slot: int, tokens: list[int], wanted: int) -> NDArray[np.float32]:
        """Logits ``(wanted, vocabulary)`` after each of the last ``wanted`` of ``tokens``.

        Only what the slot does not hold already is run; all of it, if the tokens part from what
        was run so far back that layers with a window have forgotten what was in sight there.

        Raises :class:`NonFiniteWeight` for logits that are not finite, and the slot forgets.
        """
        with self._lock:
            held = self._held[slot]
            start = self._resume(slot, min(_common(held, tokens), len(tokens) - wanted))
            logits = np.empty((wanted, self._vocabulary), np.float32)
            unwanted = len(tokens) - wanted
            for first in range(start, len(tokens), CHUNK):
                last = min(first + CHUNK, len(tokens))
                self._reached[slot] = max(self._reached[slot], last)
                self._run(
                    tokens[first:last],
                    [slot] * (last - first),
                    range(first, last),
                    range(max(unwanted - first, 0), last - first),
                    logits[max(first - unwanted, 0) : max(last - unwanted, 0)],
                )
                held.extend(tokens[first:last])
            return logits

    def step(self, slots: Sequence[int], texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Logits ``(slots, vocabulary)`` after the last token of the text of every slot.

        Raises as :meth:`extend` does.
        """
        with self._lock:
            for slot in slots:
                self.extend(slot, texts[slot][:-1], 0)  # nothing to do, unless others used the slot
            logits = np.empty((len(slots), self._vocabulary), np.float32)
            last = [texts[slot][-1] for slot in slots]
            positions = [len(texts[slot]) - 1 for slot in slots]
            for slot, position in zip(slots, positions, strict=True):
                self._reached[slot] = max(self._reached[slot], position + 1)
            self._run(last, slots, positions, range(len(slots)), logits)
            for slot, token in zip(slots, last, strict=True):
                self._held[slot].append(token)
            return logits

    def _resume(self, slot: int, start: int) -> int:
        """Where to go on instead of ``start``: there, or at the first token.

        The slot holds what is before that. Layers with a window keep what it sees of a chunk.
        """
        reached = self._reached[slot]
        forgetful = self._window > 0 and reached >= self._window + CHUNK
        if forgetful and start < reached - CHUNK:
            start = 0
        if start == 0:
            self._reached[slot] = 0
        del self._held[slot][start:]
        return start

    def _run(
        self,
        ids: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        wanted: Sequence[int],
        logits: NDArray[np.float32],
    ) -> None:
        self._decoder.run(
            np.array(ids, dtype=np.int64),
            np.array(slots, dtype=np.int64),
            np.array(positions, dtype=np.int64),
            np.array(wanted, dtype=np.int64),
            logits,
        )
        # NaN anywhere before the head makes NaN of all logits of a token, and is in the cache.
        if not np.isfinite(logits).all():
            for slot in set(slots):
                self._held[slot].clear()
            raise NonFiniteWeight(
                "logits hold NaN or infinity: a weight is damaged, or so large that activations "
                "overflow; make or download the model again"
            )


def _common(held: list[int], tokens: list[int]) -> int:
    """How many tokens both begin with."""
    if held == tokens[: len(held)]:
        return len(held)
    return next(i for i in range(len(held)) if i == len(tokens) or held[i] != tokens[i])
