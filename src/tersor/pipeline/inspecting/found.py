"""What ``inspect`` found: frozen, with ``to_dict()``."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tersor.inspection.findings import codes_findings, model_findings
from tersor.inspection.matrix import CodesView, MatrixView
from tersor.inspection.pair import Difference, differences, pair_findings
from tersor.inspection.roles import CodesRole, Role, codes_roles_of, roles_of
from tersor.inspection.unusual import Unusual, unusual
from tersor.version import own_version


@dataclass(frozen=True)
class TextSeen:
    """The built-in text that activations are of: windows, and tokens of each."""

    windows: int
    window: int

    def __str__(self) -> str:
        return f"{self.windows * self.window} tokens of the built-in text"


@dataclass(frozen=True)
class ModelInspection:
    """Every linear in the blocks of a model.

    ``asymmetric``: whether the grids of ``losses`` have zero points. ``text``: what activations are
    of; ``None`` if they were not looked at, and ``notes`` say why.
    """

    model: Path
    model_type: str
    blocks: int
    asymmetric: bool
    matrices: tuple[MatrixView, ...]
    text: TextSeen | None
    notes: tuple[str, ...]

    @property
    def weights(self) -> int:
        """Of all matrices."""
        return sum(view.weights for view in self.matrices)

    @cached_property
    def roles(self) -> tuple[Role, ...]:
        """Medians by role."""
        return roles_of(self.matrices)

    @cached_property
    def unusual(self) -> tuple[Unusual, ...]:
        """The matrices that stand out."""
        return unusual(self.matrices)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Sentences, the most important first."""
        return model_findings(self.matrices, self.asymmetric)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "model_type": self.model_type,
            "blocks": self.blocks,
            "weights": self.weights,
            "asymmetric": self.asymmetric,
            "text": None if self.text is None else str(self.text),
            "findings": list(self.findings),
            "roles": [role.to_dict() for role in self.roles],
            "unusual": [one.to_dict() for one in self.unusual],
            "matrices": [view.to_dict() for view in self.matrices],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ArtifactInspection:
    """Every quantized matrix of an artifact.

    ``base``: the original that it was held against; ``notes`` say where it could not be.
    """

    model: Path
    base: Path | None
    recipe: str | None
    format: str
    matrices: tuple[CodesView, ...]
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> int:
        """Of all matrices."""
        return sum(view.weights for view in self.matrices)

    @cached_property
    def roles(self) -> tuple[CodesRole, ...]:
        """Medians by role and scheme."""
        return codes_roles_of(self.matrices)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Sentences, the most important first."""
        return codes_findings(self.matrices)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "base": None if self.base is None else str(self.base),
            "recipe": self.recipe,
            "format": self.format,
            "weights": self.weights,
            "findings": list(self.findings),
            "roles": [role.to_dict() for role in self.roles],
            "matrices": [view.to_dict() for view in self.matrices],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class PairInspection:
    """Two artifacts side by side."""

    first: ArtifactInspection
    second: ArtifactInspection

    @property
    def names(self) -> tuple[str, str]:
        """What they are called beside each other: their directories, or their paths if alike."""
        one, two = self.first.model, self.second.model
        return (one.name, two.name) if one.name != two.name else (str(one), str(two))

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """Of every matrix that both have."""
        return differences(self.first.matrices, self.second.matrices)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Sentences, the most important first."""
        return pair_findings(self.names, self.first.matrices, self.second.matrices)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "findings": list(self.findings),
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
        }
