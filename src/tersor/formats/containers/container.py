"""What every container can do."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from tersor.checkpoints.source import Source, TensorInfo
from tersor.errors import TersorError


class Writer(Protocol):
    """Takes the tensors of an artifact as they are made."""

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Take tensors; do not change them afterwards.

        Raises :class:`~tersor.errors.OutputError`, and :class:`~tersor.errors.ReadBackError` if
        what is on disk is not what was meant.
        """

    def revise(self, info: TensorInfo) -> None:
        """Expect another type or shape of a tensor that has not come yet."""


@runtime_checkable
class ResumableWriter(Writer, Protocol):
    """One whose tensors can be gone on with when the process was killed.

    A run keeps a journal where the writer of its container is one.
    """

    def adopt(self, digests: Mapping[str, str]) -> None:
        """Tensors that an earlier run added count as added; before any other, after revisions.

        Raises :class:`~tersor.errors.OutputError` naming a tensor that is not what that run wrote.
        """

    def added(self) -> dict[str, str]:
        """Digests by name of what was added since this was asked last."""

    def sync(self) -> None:
        """Wait until what was added survives a power cut; called while another thread adds.

        Raises :class:`~tersor.errors.OutputError`.
        """


class Container(Protocol):
    """The files of an artifact.

    ``file``: ``None`` for a directory. An artifact of a single file is written under this name in a
    directory of its own, and published from there.
    """

    @property
    def file(self) -> str | None:
        """See above."""

    def claims(self, path: Path) -> bool:
        """Whether what exists at ``path`` says that it is such an artifact: then it may be opened.

        Looks at names and first bytes; raises nothing.
        """

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, whatever its name says: then it may be replaced.

        Looks at first bytes; raises nothing.
        """

    def problems(self, path: Path) -> list[TersorError]:
        """Everything that is wrong with the files as such, of which :meth:`open` raises the first.

        Nothing about them if they can be opened. May raise :class:`~tersor.errors.TersorError` too.
        """

    def open(self, path: Path) -> Source:
        """Read headers; ``config`` of the source is what :meth:`describe` was given.

        Raises :class:`~tersor.errors.SourceError`.
        """

    def writer(
        self,
        directory: Path,
        expected: Sequence[TensorInfo],
        config: Mapping[str, Any],
        source: Source,
    ) -> AbstractContextManager[Writer]:
        """Write tensors into ``directory``; complete when the block is left.

        The directory is empty, or for a :class:`ResumableWriter` as a killed run left it.

        ``expected``: all that will be added, in their order. ``config``, ``source``: as in
        :meth:`describe`. Raises :class:`~tersor.errors.SchemeError` for what it cannot say of a
        model, before any tensor is made.
        """

    def overhead(
        self, expected: Sequence[TensorInfo], config: Mapping[str, Any], source: Source
    ) -> int:
        """Bytes of the files that hold ``expected``, besides their values.

        Raises what :meth:`writer` raises for what it cannot say of a model; nothing is written.
        """

    def describe(
        self, directory: Path, source: Source, config: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        """Write what surrounds the tensors, after them.

        ``source``: of the original model, which knows its tokenizer. ``config``: of the artifact.
        ``texts``: recipe, record and model card, by the names that their files have.
        """
