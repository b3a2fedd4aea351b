"""Training that may be interrupted: its state in a file, written from time to time."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tersor.checkpoints.files import reading, replacing
from tersor.errors import SourceError

_KEY = "tersor.training"
_SECONDS = 120.0


class Checkpoint:
    """A file that holds how far a training has come."""

    def __init__(self, path: Path, seconds: float = _SECONDS) -> None:
        """``seconds``: how long it takes before the file is written again."""
        self._path, self._seconds = path, seconds
        self._saved = time.monotonic()

    def load(self, identity: str) -> tuple[list[float], dict[str, Tensor]] | None:
        """Losses of the steps that were taken and tensors by name; ``None`` if there is no file.

        ``identity``: of everything the training depends on. Raises
        :class:`~tersor.errors.SourceError` for a file that is damaged or another training's.
        """
        if not self._path.exists():
            return None
        try:
            with reading(self._path), safe_open(self._path, framework="pt") as file:
                found = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            losses = [float(loss) for loss in found["losses"]]
            whose = found["identity"]
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"{self._path}: no checkpoint of a training, or a damaged one; delete it to start "
                "from the beginning"
            ) from error
        if whose != identity:
            raise SourceError(
                f"{self._path}: the checkpoint of another training (another model, recipe or "
                "text); delete it or name another file"
            )
        return losses, tensors

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, identity: str, losses: list[float], tensors: Mapping[str, Tensor]) -> None:
        """Replace the file, whole or not at all.

        Raises :class:`~tersor.errors.OutputError`: disk full, no permission.
        """
        about = json.dumps({"identity": identity, "losses": losses})
        with replacing(self._path) as partial:
            save_file(dict(tensors), partial, metadata={_KEY: about})
        self._saved = time.monotonic()

    def remove(self) -> None:
        """The training is over and what came of it is kept elsewhere."""
        self._path.unlink(missing_ok=True)
