"""Free texts that come with tersor; corpus/README.md says where they are from."""

from importlib import resources
from pathlib import Path

from tersor.calibration.text.files import TextFile, open_text, read_plain

_FOLDER = "corpus"


def calibration_files() -> list[TextFile]:
    """Prose, dialogue, code and several languages, a file each; their shares are equal.

    Dialogues go through the model's chat template, or, where it has none, are plain transcripts.
    """
    folder = _folder() / "calibration"
    found = [open_text(path) for path in sorted(folder.iterdir())]
    return [TextFile(f"built-in {f.name}", f.kind, f.text, f.rows, transcripts=True) for f in found]


def evaluation_file() -> TextFile:
    """About 60 kB of Shakespeare, of plays that calibration does not see."""
    return TextFile("built-in text", "text", read_plain(_folder() / "evaluation.txt"))


def _folder() -> Path:
    return Path(str(resources.files("tersor.calibration") / _FOLDER))
