"""Free texts that come with tersor; corpus/README.md says where they are from."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

from tersor.calibration.text.files import TextFile, open_text

_FOLDER = "corpus"


def calibration_files() -> list[TextFile]:
    """Prose, dialogue, code and several languages, a file each; their shares are equal.

    Dialogues go through the model's chat template, or, where it has none, are plain transcripts.
    """
    folder = _folder() / "calibration"
    found = [open_text(path) for path in sorted(folder.iterdir())]
    return [
        replace(file, name=f"built-in {file.name}", transcripts=True, built_in=True)
        for file in found
    ]


def evaluation_file() -> TextFile:
    """About 60 kB of Shakespeare, of plays that calibration does not see."""
    found = open_text(_folder() / "evaluation.txt")
    return replace(found, name="built-in text (Shakespeare)", built_in=True)


def _folder() -> Path:
    return Path(str(resources.files("tersor.calibration") / _FOLDER))
