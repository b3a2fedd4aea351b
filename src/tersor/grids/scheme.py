"""What is quantized, onto which grid, and how many values share a scale."""

from dataclasses import dataclass
from enum import StrEnum

from tersor.errors import SchemeError
from tersor.grids.grid import Grid
from tersor.grids.scales import SUPER_BLOCK, ScaleFormat


class Granularity(StrEnum):
    """Which values share a scale."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    """One output row of a weight."""
    GROUP = "group"
    """``group_size`` consecutive input columns of a row; the last group of a row may be shorter."""
    TOKEN = "token"
    """One row of an activation."""


_SAID = {
    ScaleFormat.FLOAT16: ", scales float16",
    **{one: f", scales {one} · float16" for one in ScaleFormat if one.levels is not None},
}


@dataclass(frozen=True)
class TensorScheme:
    """Grid, granularity and scale format of one tensor."""

    grid: Grid
    granularity: Granularity
    group_size: int | None = None
    scale_format: ScaleFormat = ScaleFormat.FLOAT

    def __post_init__(self) -> None:
        if (self.granularity is Granularity.GROUP) != (self.group_size is not None):
            raise SchemeError("group_size belongs to granularity 'group', and only to it")
        if self.group_size is not None and self.group_size < 2:
            raise SchemeError(f"group_size {self.group_size} makes no sense; use 2 or more")
        if self.scale_format in (ScaleFormat.E8M0, ScaleFormat.E4M3) and self.grid.name != "fp4":
            raise SchemeError(
                f"scale {self.scale_format} belongs to grid fp4, not {self.grid.name}"
            )
        self._check_two_levels()

    def _check_two_levels(self) -> None:
        levels, size = self.scale_format.levels, self.group_size
        if levels is None:
            return
        if size is None or SUPER_BLOCK % size:
            raise SchemeError(f"scale {self.scale_format} needs groups that divide {SUPER_BLOCK}")
        if self.grid.integers is None or self.grid.has_minima != (levels[0] == 0):
            fitting = "affine" if levels[0] == 0 else "int"
            raise SchemeError(f"scale {self.scale_format} needs grid {fitting}")
        if not (self.grid.symmetric or self.grid.has_minima):
            raise SchemeError(f"scale {self.scale_format} needs integers without zero points")

    @property
    def super_groups(self) -> int:
        """Groups of a row that share the upper level of their scales; 1 if there is none."""
        if self.group_size is None or self.scale_format.levels is None:
            return 1
        return SUPER_BLOCK // self.group_size

    def groups(self, columns: int) -> int:
        """Scales per row of a matrix with that many columns."""
        if self.group_size is None:
            return 1
        return -(-columns // self.group_size)

    def misfit(self, columns: int) -> str | None:
        """Why it is not for a matrix with that many columns, or ``None``; a sentence."""
        if self.scale_format.levels is not None and columns % SUPER_BLOCK:
            return f"{columns} input columns are no multiple of {SUPER_BLOCK}, which share a scale"
        return None

    def ragged(self, columns: int) -> bool:
        """Whether the last group of a row is shorter than the others."""
        return self.group_size is not None and columns % self.group_size != 0

    def __str__(self) -> str:
        symmetry = "" if self.grid.symmetric else " asymmetric"
        size = "" if self.group_size is None else f" {self.group_size}"
        stored = _SAID.get(self.scale_format, "")
        return f"{self.grid.name}{symmetry} per {self.granularity}{size}{stored}"


@dataclass(frozen=True)
class ActivationScheme:
    """How the input of a linear is quantized; ``dynamic`` ranges are found while running."""

    tensor: TensorScheme
    dynamic: bool

    def __post_init__(self) -> None:
        if not self.dynamic and self.tensor.granularity is not Granularity.TENSOR:
            raise SchemeError("static activations have one range per tensor; per token is dynamic")
        if self.tensor.granularity is Granularity.CHANNEL:
            raise SchemeError("activations are quantized per tensor, token or group, not channel")

    def __str__(self) -> str:
        return f"{self.tensor} {'dynamic' if self.dynamic else 'static'}"


@dataclass(frozen=True)
class Scheme:
    """Weights, and perhaps activations, of one linear."""

    weights: TensorScheme
    activations: ActivationScheme | None = None

    def __post_init__(self) -> None:
        if self.weights.granularity is Granularity.TOKEN:
            raise SchemeError("weights have no tokens; use granularity tensor, channel or group")

    @property
    def name(self) -> str:
        """``W4A16``, ``W8A8``, …: bits of weights and activations."""
        activation_bits = 16 if self.activations is None else self.activations.tensor.grid.bits
        return f"W{self.weights.grid.bits}A{activation_bits}"

    def __str__(self) -> str:
        activations = "" if self.activations is None else f", activations {self.activations}"
        return f"{self.name}: {self.weights}{activations}"
