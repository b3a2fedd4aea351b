"""How far the text has come in a calibrated run: what one block leaves for the next."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Passage:
    """After ``blocks`` blocks.

    ``hidden``: their output, ``original``: that of the original's blocks, where a recipe compares
    both; float32 ``(n, T, hidden)``. ``unscaled``: producers that no scale was found for;
    ``spilled``: whether activations went through files. Both are reported in the end.
    """

    blocks: int
    hidden: Tensor
    original: Tensor | None = None
    unscaled: tuple[str, ...] = ()
    spilled: bool = False

    def tensors(self) -> dict[str, Tensor]:
        """By the names under which they are kept."""
        found = {"hidden": self.hidden}
        return found if self.original is None else found | {"original": self.original}
