"""Where statistics listen: on modules, on experts inside a fused tensor, before the head."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

from tersor.calibration.experts import ExpertInputs
from tersor.calibration.skeleton import Decoder
from tersor.calibration.statistics import Statistic
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.architecture import Architecture
from tersor.models.values import canonical

# The weight's published name, and the statistic of its input.
Listener = tuple[str, Statistic[object]]


class Points:
    """The observers of one run, each at its place. ``seen``: the weights whose input came by."""

    def __init__(
        self, source: Source, architecture: Architecture, decoder: Decoder, length: int
    ) -> None:
        """``length``: tokens per window."""
        self._path, self._architecture, self._length = source.path, architecture, length
        self._blocks = decoder.blocks
        self._in_memory = {published: memory for memory, published in architecture.renames}
        # Block → module → listeners.
        self._modules: dict[int, dict[str, list[Listener]]] = defaultdict(lambda: defaultdict(list))
        # Block → fused tensor → expert → listeners.
        self._experts: dict[int, dict[str, dict[int, list[Listener]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        self._head: list[Listener] = []
        self.seen: set[str] = set()

    def add(self, name: str, observer: Statistic[object]) -> None:
        """Place an observer; :class:`SourceError` if ``name`` is no linear that can be observed."""
        if name == self._architecture.head:
            self._head.append((name, observer))
            return
        block, relative = self._architecture.split(name)
        if block is None or not name.endswith(".weight"):
            raise SourceError(f"{self._path}: {name} is no weight of a linear in a block")
        fused = self._fused(relative)
        if fused is None:
            module = self._in_memory.get(relative, relative)
            self._check_has(name, block, f"{module}.weight")
            self._modules[block][module].append((name, observer))
        else:
            tensor, expert = fused
            self._check_has(name, block, tensor, expert + 1)
            self._experts[block][tensor][expert].append((name, observer))

    @contextmanager
    def observing(self, index: int, block: nn.Module) -> Iterator[None]:
        """Let this block's observers see what passes while it runs."""
        modules, experts = self._modules[index], self._experts[index]
        fired: set[str] = set()
        with ExitStack() as stack:
            for path, listeners in modules.items():
                hook = partial(self._on_module, fired, path, listeners)
                stack.callback(block.get_submodule(path).register_forward_pre_hook(hook).remove)
            if experts:
                fused = [
                    (block.get_parameter(path), partial(self._on_expert, fired, path, listeners))
                    for path, listeners in experts.items()
                ]
                stack.enter_context(ExpertInputs(fused))
            yield
        # The router may leave out an expert, but nothing leaves out a linear or a whole layer.
        for path in (*modules, *experts):
            if path not in fired:
                raise SourceError(
                    f"{self._path}: transformers' {type(block).__name__} does not use {path} in a "
                    "way that can be observed"
                )

    def observe_head(self, final: Tensor) -> None:
        """Show the head's observers the final norm's output ``(n, T, hidden)``."""
        for window in final if self._head else ():
            self._update(self._head, window)

    def _on_module(
        self,
        fired: set[str],
        path: str,
        listeners: list[Listener],
        _: nn.Module,
        args: tuple[Tensor, ...],
    ) -> None:
        fired.add(path)
        # Some architectures merge windows and tokens into one axis before a linear.
        x = args[0].reshape(-1, args[0].shape[-1])
        for start in range(0, len(x), self._length):
            self._update(listeners, x[start : start + self._length])

    def _on_expert(
        self,
        fired: set[str],
        path: str,
        listeners: dict[int, list[Listener]],
        expert: int,
        x: Tensor,
    ) -> None:
        fired.add(path)
        self._update(listeners.get(expert, []), x)

    def _update(self, listeners: list[Listener], x: Tensor) -> None:
        for name, observer in listeners:
            try:
                observer.update(x)
            except SourceError as error:
                raise SourceError(f"{self._path}: input of {name}: {error}") from error
            self.seen.add(name)

    def _fused(self, relative: str) -> tuple[str, int] | None:
        """The fused tensor that holds an expert's linear, and the expert's number."""
        for fused in self._architecture.fused_experts:
            if canonical(relative) in fused.parts:
                return fused.name, next(int(p) for p in relative.split(".") if p.isdecimal())
        return None

    def _check_has(self, name: str, block: int, tensor: str, count: int = 0) -> None:
        """The block has ``tensor`` in memory, with ``count`` matrices or more."""
        state = self._blocks[block].state_dict() if block < len(self._blocks) else {}
        if tensor not in state or len(state[tensor]) < count:
            raise SourceError(
                f"{self._path}: {name} is no linear of transformers' "
                f"{type(self._blocks[0]).__name__} {block}; its input cannot be observed"
            )
