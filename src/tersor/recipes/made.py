"""What a recipe was made with and what came of it, against which a repetition is held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictInt, StrictStr

from tersor.calibration.text import TextIdentity
from tersor.documents import Document
from tersor.errors import TextError

WAY_OUT = "take `made` out of the recipe to calibrate on another"


@dataclass(frozen=True)
class Made:
    """One run of a recipe: all that its result depends on, and the digest of the result.

    ``recipe``: of its steps. ``source``: of the weights, and ``source_name`` for people. ``texts``
    in their order; ``windows``: digests of what they were cut into. ``arithmetic``: what the
    machine calibrated in. ``versions``: ``tersor 0.1.0``, ``torch 2.12.1``, …
    """

    recipe: str
    source_name: str
    source: str
    texts: tuple[TextIdentity, ...]
    windows: tuple[str, ...]
    arithmetic: str
    versions: tuple[str, ...]
    result: str

    def differences(self, now: "Made") -> Iterator[str]:
        """Of what a result depends on, what is otherwise ``now``: a clause each."""
        if now.recipe != self.recipe:
            yield "its steps were changed since"
        if now.source != self.source:
            yield (
                f"{now.source_name} has other weights (digest {now.source}) than "
                f"{self.source_name}, which it was made from ({self.source})"
            )
        if now.windows != self.windows:
            yield "the tokenizer, the amount or the rules of packing give other tokens"
        if now.arithmetic != self.arithmetic:
            yield f"calibrated in {now.arithmetic} instead of {self.arithmetic}"
        if now.versions != self.versions:
            changed = [version for version in now.versions if version not in self.versions]
            before = [version for version in self.versions if version not in now.versions]
            yield f"{', '.join(changed) or 'nothing'} instead of {', '.join(before) or 'nothing'}"

    def to_dict(self) -> dict[str, Any]:
        """As it is written in a recipe."""
        return MadeDocument.of(self).model_dump(exclude_none=True)


def refuse_other_texts(made: Made, texts: Sequence[TextIdentity], name: str) -> None:
    """Refuse texts that are not, in this order, those that the recipe ``name`` was made with.

    If it was made without a text, any may be given.

    Raises :class:`TextError`.
    """
    if not made.texts:
        return
    wanted = made.texts
    if len(wanted) == len(texts) and all(w.same(t) for w, t in zip(wanted, texts, strict=True)):
        return
    whose = f"recipe {name!r} was made with {_listed(wanted)}"
    if wanted[0].built_in:
        if texts[0].built_in:
            raise TextError(f"{whose}, and this tersor comes with another; {WAY_OUT}")
        raise TextError(f"{whose}; give no text, or {WAY_OUT}")
    if texts[0].built_in:
        raise TextError(f"{whose}; give that (--calibration), or {WAY_OUT}")
    if sorted(t.sha256 for t in texts) == sorted(t.sha256 for t in wanted):
        raise TextError(
            f"{whose}, not {_listed(texts)}; give them in that order and with the same endings"
        )
    raise TextError(f"{whose}, not {_listed(texts)}; give the same, or {WAY_OUT}")


def _listed(texts: Sequence[TextIdentity]) -> str:
    if texts[0].built_in:
        return "the mixture that comes with tersor"
    said = (f"{t.name!r} ({t.kind}, sha256 {t.sha256[:12]}…)" for t in texts)
    return ", then ".join(said)


_Digest = Annotated[str, Field(strict=True, pattern="^[0-9a-f]{32,64}$")]


class MadeSourceDocument(Document):
    """``made.source`` of a recipe."""

    name: StrictStr
    digest: _Digest


class MadeTextDocument(Document):
    """One entry of ``made.texts``."""

    name: StrictStr
    kind: StrictStr
    sha256: _Digest
    bytes: StrictInt
    built_in: StrictBool | None = None


class MadeDocument(Document):
    """``made`` of a recipe."""

    recipe: _Digest
    source: MadeSourceDocument
    texts: tuple[MadeTextDocument, ...] = ()
    windows: tuple[_Digest, ...] = ()
    arithmetic: StrictStr = ""
    versions: tuple[StrictStr, ...] = ()
    result: _Digest

    def value(self) -> Made:
        """The value it describes."""
        return Made(
            self.recipe,
            self.source.name,
            self.source.digest,
            tuple(
                TextIdentity(t.name, t.kind, t.sha256, t.bytes, built_in=bool(t.built_in))
                for t in self.texts
            ),
            self.windows,
            self.arithmetic,
            self.versions,
            self.result,
        )

    @classmethod
    def of(cls, made: Made) -> "MadeDocument":
        """The document of a value."""
        texts = (
            MadeTextDocument(
                name=t.name,
                kind=t.kind,
                sha256=t.sha256,
                bytes=t.bytes,
                built_in=t.built_in or None,
            )
            for t in made.texts
        )
        return cls(
            recipe=made.recipe,
            source=MadeSourceDocument(name=made.source_name, digest=made.source),
            texts=tuple(texts),
            windows=made.windows,
            arithmetic=made.arithmetic,
            versions=made.versions,
            result=made.result,
        )
