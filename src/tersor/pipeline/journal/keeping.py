"""The recorder of one run, and what becomes of its workplace when the run ends early."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tersor.calibration.text import TextFile
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.source import Source
from tersor.errors import OutOfMemory, TersorError
from tersor.pipeline.journal.identity import identity_of, refuse_other
from tersor.pipeline.journal.recorder import Recorder
from tersor.pipeline.planning import Plan
from tersor.pipeline.planning.prepare import unprepared


@contextmanager
def recording(
    output: OutputDirectory, source: Source, plan: Plan, texts: Sequence[TextFile]
) -> Iterator[Recorder]:
    """A recorder in the workplace of ``output``.

    What is finished is kept when the block ends early by what another run may not meet: an
    interrupt, a disk that is full, a source that is gone, no memory, a bug. What would be met again
    leaves nothing behind.

    Raises :class:`~tersor.errors.OutputError` for an earlier run that was another one.
    """
    place = output.workplace
    identity = identity_of(unprepared(source), plan, texts)
    if place.kept:
        refuse_other(output.path, place.kept[0]["run"], identity)
    recorder = Recorder(place, plan, identity, published=output.published)
    try:
        yield recorder
    except BaseException as error:
        recorder.end()
        place.keep = place.keep and not _met_again(error)
        raise
    recorder.end()


def _met_again(error: BaseException) -> bool:
    """Whether whoever goes on would end at the same place."""
    if not isinstance(error, TersorError) or isinstance(error, OutOfMemory):
        return False
    return not isinstance(error.__cause__, OSError | MemoryError)
