"""The units of one calibrated run in their order, less those that an earlier run has finished."""

from collections.abc import Callable, Sequence

from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.calibration.memory import ActivationMemory
from tersor.pipeline.blocks.loop import BlockRounder, Emit
from tersor.pipeline.blocks.work import Work
from tersor.pipeline.journal.passage import Passage
from tersor.pipeline.journal.recorder import Recorder
from tersor.pipeline.planning import Unit


class Course:
    """Hands units to ``emit`` and keeps them with the ``recorder``, if there is one."""

    def __init__(
        self, rounder: BlockRounder, memory: ActivationMemory, emit: Emit, recorder: Recorder | None
    ) -> None:
        self._rounder, self._memory = rounder, memory
        self._emit, self._recorder = emit, recorder

    def outside(self, unit: Unit, decide: Callable[[Unit], Work]) -> None:
        """A unit that is no block."""
        if self._recorder is None:
            self._emit(unit, decide(unit))
        elif not self._recorder.has(unit.name):
            self._emit(unit, decide(unit))
            self._recorder.commit()

    def enter(self, hidden: Tensor) -> int:
        """Blocks that are done already, whose output takes the place of ``hidden``."""
        kept = None if self._recorder is None else self._recorder.passage()
        if kept is None:
            return 0
        hidden.copy_(kept.hidden)
        if kept.original is not None:
            original = self._memory.empty(tuple(hidden.shape))
            self._rounder.original = original.copy_(kept.original)
        self._rounder.unscaled += kept.unscaled
        self._memory.spilled += kept.spilled
        return kept.blocks

    def visit(self, call: BlockCall, hidden: Tensor, *, last: int) -> Tensor:
        """Round one block and keep what it leaves; ``last``: the number of the last one."""
        output = self._rounder.visit(call, hidden)
        behind = call.index == last
        # What blocks hand each other besides is not kept: such a text goes through in one go.
        if self._recorder is not None and (behind or not call.shares):
            rounder, spilled = self._rounder, bool(self._memory.spilled)
            left = Passage(
                call.index + 1, output, rounder.original, tuple(rounder.unscaled), spilled
            )
            self._recorder.passed(left, last=behind)
        return output


class Decisions:
    """Of all units, for a training that comes before any is written."""

    def __init__(self, units: Sequence[Unit], recorder: Recorder | None) -> None:
        self._units, self._recorder = units, recorder
        self._found: dict[str, Work] = {}

    def add(self, unit: Unit, work: Work) -> None:
        """Take and keep one."""
        self._found[unit.name] = work
        if self._recorder is not None:
            self._recorder.decide(unit.name, work)

    def all(self) -> list[tuple[Unit, Work]]:
        """In the order of the units, with those of an earlier run."""
        return [(unit, self._found.get(unit.name) or self._earlier(unit)) for unit in self._units]

    def _earlier(self, unit: Unit) -> Work:
        found = None if self._recorder is None else self._recorder.decision(unit.name)
        assert found is not None
        return found
