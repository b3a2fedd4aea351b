"""The recorder of one run, and what becomes of its workplace when the run ends early."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tersor.calibration.text import TextFile
from tersor.checkpoints.files import write_text, writing
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.output.unfinished import finished
from tersor.checkpoints.source import Source
from tersor.errors import OutOfMemory, TersorError
from tersor.pipeline.journal.identity import identity_of, refuse_changed_source, refuse_other
from tersor.pipeline.journal.log import LAYERS, LOG, beside, layers_csv, refuse_strange
from tersor.pipeline.journal.recorder import Recorder
from tersor.pipeline.planning import Plan
from tersor.pipeline.planning.prepare import unprepared
from tersor.pipeline.result import QuantizeResult
from tersor.version import own_version


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
    refuse_strange(output.path)
    recorder = Recorder(place, plan, identity, published=output.published)
    log = recorder.log
    log.say(
        "resumed" if place.kept else "began",
        pid=os.getpid(),
        version=own_version(),
        model=str(source.path),
        recipe=plan.recipe.name,
        scheme=str(plan.recipe.scheme),
        format=plan.format,
        units=len(plan.units),
        finished=len(finished(place.kept)),
    )
    try:
        yield recorder
        refuse_changed_source(unprepared(source), identity)
        recorder.complete()
    except BaseException as error:
        recorder.end()
        place.keep = place.keep and not _met_again(error)
        log.say("ended", error=type(error).__name__, said=str(error), kept=place.keep)
        raise
    recorder.end()
    log.say("complete")


def publish(output: OutputDirectory, result: QuantizeResult) -> None:
    """Put the log and the layers' records beside the result, and remove the workplace.

    Raises :class:`~tersor.errors.OutputError`.
    """
    place = output.workplace
    write_text(place.root / LAYERS, layers_csv(result.layers))
    for name in (LAYERS, LOG):
        if (place.root / name).exists():
            with writing(beside(output.path, name)):
                (place.root / name).replace(beside(output.path, name))
    place.close()


def _met_again(error: BaseException) -> bool:
    """Whether whoever goes on would end at the same place."""
    if not isinstance(error, TersorError) or isinstance(error, OutOfMemory):
        return False
    return not isinstance(error.__cause__, OSError | MemoryError)
