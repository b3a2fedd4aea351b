"""One forward of a block that stops before each group of linears which share an input.

All windows go through the block in pieces, each in a thread of its own. Before the first linear of
a group a piece hands over what the linear is about to read and waits. When every piece waits, the
group's turn comes: its weights can be replaced with knowledge of all inputs, and the pieces go on
with the new ones. So a block runs once, every linear sees inputs made by what is already quantized,
and what lies in memory is the input of one group instead of every group's.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from tersor.calibration.blocks import BlockCall
from tersor.calibration.experts import ExpertProducts
from tersor.calibration.memory import ActivationMemory
from tersor.machine.parallel import one_thread_each


@dataclass(frozen=True)
class Stage:
    """Linears of a block that read the same rows.

    ``weights``: their published names. ``modules``: their paths inside the block; empty for an
    expert of a fused tensor, which is then ``fused[0]`` (its path) at index ``fused[1]``.
    """

    weights: tuple[str, ...]
    modules: tuple[str, ...]
    fused: tuple[str, int] | None = None


def staged(
    call: BlockCall,
    hidden: Tensor,
    into: Tensor | None,
    stages: Sequence[Stage],
    memory: ActivationMemory,
) -> Generator[tuple[Stage, list[Tensor]], None, None]:
    """Compute the block for all windows ``(n, T, hidden)``, stopping before each of ``stages``.

    ``stages`` come in the order in which the block reaches them; of experts, each piece may leave
    some out. Yields each stage that is reached, with the inputs ``(tokens, in)`` of the pieces that
    came by, in the pieces' order; they are held only while the stage lasts, in ``memory`` (spilled
    if it says so). ``into`` receives the output and may be ``hidden``; with ``None`` it is
    dropped. Closing the iterator ends the forward.
    """
    run = _Run(call, hidden, into, stages, memory)
    threads = run.threads()
    with run.hooks():
        try:
            stage = run.advance(threads)
            while stage is not None:
                inputs = run.inputs(stage)
                yield stages[stage], inputs
                # The caller still has the list while the next one is filled.
                inputs.clear()
                run.release(stage)
                stage = run.advance()
        except BaseException as error:
            run.abandon(error)
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:  # was started
                    thread.join()
    run.raise_failure()


class _Abandoned(BaseException):
    """Ends the threads of pieces when another piece, or a stage, has failed."""


@dataclass
class _Piece:
    windows: slice
    go_on: threading.Event = field(default_factory=threading.Event)
    waiting: tuple[int, Tensor] | None = None
    finished: bool = False


class _Run:
    def __init__(
        self,
        call: BlockCall,
        hidden: Tensor,
        into: Tensor | None,
        stages: Sequence[Stage],
        memory: ActivationMemory,
    ) -> None:
        self._call, self._hidden, self._into = call, hidden, into
        self._stages, self._memory = stages, memory
        self._pieces = [_Piece(windows) for windows in call.pieces(hidden)]
        self._current = threading.local()
        self._done: set[int] = set()
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._slots = threading.Semaphore(torch.get_num_threads())
        self._fused: dict[str, dict[int, int]] = {}

    def threads(self) -> list[threading.Thread]:
        return [threading.Thread(target=self._run_piece, args=(p,)) for p in self._pieces]

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Make the block's linears stop the pieces."""
        with ExitStack() as stack:
            for index, stage in enumerate(self._stages):
                for path in stage.modules:
                    linear = self._call.block.get_submodule(path)
                    hook = partial(self._before_linear, index)
                    # Before others: what they do to an input is no matter of the stage.
                    added = linear.register_forward_pre_hook(hook, prepend=True)
                    stack.callback(added.remove)
                if stage.fused is not None:
                    path, expert = stage.fused
                    self._fused.setdefault(path, {})[expert] = index
            yield

    def advance(self, threads: Sequence[threading.Thread] = ()) -> int | None:
        """Let pieces run until each waits; the earliest stage of those, or None when all are over.

        Pieces visit experts in ascending order, so nobody comes back to an earlier one.
        """
        with one_thread_each(), self._changed:
            for thread in threads:
                thread.start()
            for piece in self._pieces:
                if piece.waiting is None:
                    piece.go_on.set()
            self._changed.wait_for(lambda: all(p.finished or p.waiting for p in self._pieces))
        waiting = [piece.waiting[0] for piece in self._pieces if piece.waiting is not None]
        return min(waiting, default=None) if self._failure is None else None

    def inputs(self, stage: int) -> list[Tensor]:
        return [p.waiting[1] for p in self._pieces if p.waiting and p.waiting[0] == stage]

    def release(self, stage: int) -> None:
        self._done.add(stage)
        for piece in self._pieces:
            if piece.waiting and piece.waiting[0] == stage:
                piece.waiting = None

    def abandon(self, error: BaseException) -> None:
        """Make every piece end as soon as it can."""
        with self._changed:
            self._failure = self._failure or error
            for piece in self._pieces:
                piece.waiting = None
                piece.go_on.set()
            self._changed.notify_all()

    def raise_failure(self) -> None:
        """Raise what ended a piece, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _before_linear(self, index: int, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._stop(index, args[0])

    def _run_piece(self, piece: _Piece) -> None:
        self._current.piece = piece
        try:
            # Modes of torch belong to a thread, so each sets its own.
            with self._slots, torch.no_grad(), self._watching_experts():
                output = self._call(self._hidden[piece.windows], piece.windows.start)
                if self._into is not None:
                    self._into[piece.windows] = output
        except _Abandoned:
            pass
        except BaseException as error:  # raised again by run(), in the caller's thread
            self.abandon(error)
        finally:
            with self._changed:
                piece.finished = True
                self._changed.notify_all()

    def _watching_experts(self) -> ExpertProducts:
        block = self._call.block
        return ExpertProducts(
            [
                (block.get_parameter(path), partial(self._before_expert, experts))
                for path, experts in self._fused.items()
            ]
        )

    def _before_expert(self, experts: dict[int, int], expert: int, x: Tensor) -> None:
        if expert in experts:
            self._stop(experts[expert], x)

    def _stop(self, index: int, x: Tensor) -> None:
        """Hand over ``x`` and wait, unless the stage is over: then just go on."""
        piece: _Piece = self._current.piece
        if index in self._done:
            return
        held = _Held(x, self._memory)
        with self._changed:
            if self._failure is not None:
                raise _Abandoned  # nobody would wake it up again
            piece.go_on.clear()
            piece.waiting = (index, held.rows)
            self._changed.notify_all()
        self._slots.release()
        try:
            piece.go_on.wait()
        finally:
            self._slots.acquire()
        if self._failure is not None:
            raise _Abandoned
        held.give_back()


class _Held:
    """A linear's input while its stage is waited for; in a file if memory is short.

    The caller's own reference keeps the tensor alive, so its storage is emptied meanwhile.
    """

    def __init__(self, x: Tensor, memory: ActivationMemory) -> None:
        self._x = x
        rows = x.reshape(-1, x.shape[-1])
        # Rows that had to be copied do not empty the storage of x, which may hold more than x.
        self._copy = memory.spill(rows) if x.is_contiguous() else None
        self.rows = rows if self._copy is None else self._copy
        if self._copy is not None:
            self._size = x.untyped_storage().nbytes()
            x.untyped_storage().resize_(0)

    def give_back(self) -> None:
        if self._copy is not None:
            self._x.untyped_storage().resize_(self._size)
            self._x.copy_(self._copy.view(self._x.shape))
