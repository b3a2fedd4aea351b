"""What ``evaluate`` found, on all texts and tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.evaluation import Evaluation
from tersor.version import own_version, versions


@dataclass(frozen=True)
class EvaluateResult:
    """What ``model`` loses, against ``base`` if it was given.

    ``recipe``: what it was made by, if it is an artifact of tersor's. ``evaluations``: one per
    text. ``tasks``: what lm-eval found, if tasks were asked for: ``results`` (metrics by task),
    ``groups``, ``versions``, ``n-shot`` and ``n-samples``, plain JSON types.
    """

    model: Path
    recipe: str | None
    base: Path | None
    evaluations: tuple[Evaluation, ...]
    tasks: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types; without tasks they are left out."""
        document = {
            "version": own_version(),
            "model": str(self.model),
            "recipe": self.recipe,
            "base": None if self.base is None else str(self.base),
            "versions": versions(),
            "evaluations": [one.to_dict() for one in self.evaluations],
        }
        return document if self.tasks is None else document | {"tasks": dict(self.tasks)}
