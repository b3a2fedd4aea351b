"""Shared inputs of blocks of several kinds in one list, as a table has them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from tersor.families.blocks import Rows, SharedInput
from tersor.models.probing.sharing import Shared


def merged(blocks: Sequence[Sequence[Shared]]) -> tuple[SharedInput, ...]:
    """One list for blocks of all kinds.

    Entries with the same producer, or with a consumer in common, become one; it has no producer
    where they disagree. In every block the consumers of an entry that are there are those that
    read together there; where that cannot be, each is an entry of its own.
    """
    entries: list[SharedInput] = []
    for shared in (s.entry for block in blocks for s in block):
        same = [entry for entry in entries if _belong_together(entry, shared)]
        entries = [entry for entry in entries if entry not in same]
        entries.append(reduce(_united, (*same, shared)))
    return tuple(part for entry in entries for part in _consistent(entry, blocks))


def _united(one: SharedInput, other: SharedInput) -> SharedInput:
    agreed = (one.producer, one.rows) == (other.producer, other.rows)
    why = one.why or other.why or "blocks of different kinds have different producers"
    return replace(
        one,
        consumers=tuple(dict.fromkeys((*one.consumers, *other.consumers))),
        listeners=tuple(dict.fromkeys((*one.listeners, *other.listeners))) if agreed else (),
        producer=one.producer if agreed else None,
        rows=one.rows if agreed else Rows.ALL,
        why="" if agreed and one.producer else why,
        turns=one.turns and other.turns,
        inner=one.inner and other.inner,
    )


def _consistent(entry: SharedInput, blocks: Sequence[Sequence[Shared]]) -> tuple[SharedInput, ...]:
    for block in blocks:
        present = {name for s in block for name in s.entry.consumers}
        together = {name for name in entry.consumers if name in present}
        if together and not any(together == set(s.entry.consumers) for s in block):
            why = f"it reads what {', '.join(sorted(together))} read in some blocks only"
            alone = replace(entry, producer=None, rows=Rows.ALL, listeners=(), why=why)
            return tuple(replace(alone, consumers=(name,)) for name in entry.consumers)
    return (entry,)


def _belong_together(one: SharedInput, other: SharedInput) -> bool:
    if set(one.consumers) & set(other.consumers):
        return True
    return one.producer is not None and (one.producer, one.rows) == (other.producer, other.rows)
