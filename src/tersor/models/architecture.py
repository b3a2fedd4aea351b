"""What the tensors of a checkpoint are, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from tersor.families.blocks import FusedExperts, Role, Rows, SharedInput, canonical
from tersor.families.registry import FAMILIES

__all__ = ["Architecture", "FusedExperts", "Role", "Rows", "SharedInput"]

_WEIGHT = ".weight"


@dataclass(frozen=True)
class Architecture:
    """The anatomy of one checkpoint. Full names are names on disk.

    ``known`` is False where no table exists: then there are no shared inputs and no pairs, and
    ``note`` says how the linears were found. ``note`` is also where a known architecture reports
    what it did not expect. ``linears`` are block-relative patterns (see ``families.blocks``); those
    in ``transposed`` are stored ``(in, out)``. A norm computes ``x̂ · (w + norm_offset)``.
    ``heads`` is the number of query heads, 0 where unknown. ``tied``: the head is the embedding,
    whether or not ``head`` is stored as well. ``writers``, ``centred`` and ``sandwich`` are those
    of ``families.blocks.Blocks``; ``writers`` is empty where no table exists. ``untied_head`` is
    what a head would be called that is tied now. ``converted``: transformers joins tensors that are
    no experts while it loads them, or takes them apart. The other two belong to architectures that
    were probed (``models.probing``): ``examined`` are the canonical block-relative names of all
    tensors that were looked at; ``closed`` is False where blocks change the residual stream without
    a writer.
    """

    model_type: str
    known: bool
    note: str
    container: str
    blocks: int
    linears: tuple[str, ...]
    shared_inputs: tuple[SharedInput, ...]
    transposed: tuple[str, ...]
    writers: tuple[str, ...]
    norm_offset: float
    centred: bool
    sandwich: bool
    heads: int
    embedding: str | None
    positions: str | None
    head: str | None
    tied: bool
    final_norm: str | None
    fused_experts: tuple[FusedExperts, ...]
    renames: tuple[tuple[str, str], ...]
    untied_head: str = "lm_head.weight"
    examined: tuple[str, ...] = ()
    closed: bool = True
    converted: bool = False

    def block_of(self, name: str) -> int | None:
        """The number of the block a tensor belongs to; None outside the blocks."""
        block, _ = self.split(name)
        return block

    def split(self, name: str) -> tuple[int | None, str]:
        """``model.layers.3.mlp.up_proj.weight`` → ``(3, "mlp.up_proj")``.

        Other suffixes than ``.weight`` stay. Outside the blocks, and in blocks beyond those that
        the model runs: ``(None, name)``.
        """
        prefix = f"{self.container}."
        if not name.startswith(prefix):
            return None, name
        number, _, relative = name.removeprefix(prefix).partition(".")
        if not number.isdecimal() or not relative or int(number) >= self.blocks:
            return None, name
        return int(number), relative.removesuffix(_WEIGHT)

    def full_name(self, block: int, relative: str) -> str:
        """Inverse of ``split`` for weights: ``(3, "mlp.up_proj")`` → the name on disk."""
        return f"{self.container}.{block}.{relative}{_WEIGHT}"

    def role(self, name: str, shape: tuple[int, ...]) -> Role:
        """What the tensor ``name`` (as on disk, ``.weight`` included) is."""
        if name == self.embedding:
            return Role.EMBEDDING
        if name == self.head:
            return Role.HEAD
        block, relative = self.split(name)
        if block is None:
            return Role.OTHER
        if len(shape) == 2 and name.endswith(_WEIGHT) and canonical(relative) in self.linears:
            return Role.LINEAR
        if len(shape) == 3 and self.fused(name) is not None:
            return Role.FUSED_EXPERTS
        return Role.OTHER

    def fused(self, name: str) -> FusedExperts | None:
        """How the experts lie in the stacked tensor ``name``; ``None`` if it is none."""
        block, relative = self.split(name)
        if block is None:
            return None
        names = (relative, f"{relative}.weight")
        return next((fused for fused in self.fused_experts if fused.name in names), None)

    @property
    def is_foreign(self) -> bool:
        """Whether names on disk may be others than transformers' in memory, or nobody knows."""
        family = FAMILIES.get(self.model_type)
        return not self.known or family is None or self.container != family.blocks.containers[0]

    def is_private(self, name: str) -> bool:
        """Whether ``name`` is of an expert that tersor alone calls so: no reader does."""
        block, relative = self.split(name)
        return block is not None and any(
            fused.parameter and canonical(relative) in fused.parts for fused in self.fused_experts
        )

    def is_transposed(self, name: str) -> bool:
        """Whether this linear is stored ``(in, out)``, as GPT-2's Conv1D is."""
        block, relative = self.split(name)
        return block is not None and canonical(relative) in self.transposed

    def shared_input_of(self, name: str) -> SharedInput | None:
        """The shared input that the linear ``name`` reads; None if it is not in a table."""
        block, relative = self.split(name)
        if block is None:
            return None
        pattern = canonical(relative)
        return next((s for s in self.shared_inputs if pattern in s.consumers), None)


def unknown_matrices(
    architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """Matrices inside the blocks that are neither linears nor listeners nor renamed ones."""
    listeners = {name for shared in architecture.shared_inputs for name in shared.listeners}
    listeners |= {in_memory for in_memory, _ in architecture.renames}
    return [
        name
        for name, shape in shapes.items()
        if len(shape) in (2, 3)
        and architecture.role(name, shape) is Role.OTHER
        and architecture.split(name)[0] is not None
        and architecture.split(name)[1] not in listeners
        and canonical(architecture.split(name)[1]) not in architecture.examined
    ]
