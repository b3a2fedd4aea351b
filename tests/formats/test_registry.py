"""Formats by name: of a folder each, of other packages, and of an explicit value."""

import subprocess
import sys
from pathlib import Path

import pytest

from tersor.errors import FormatError, OptionError
from tersor.formats import Formats, known_formats, registry
from tersor.formats.kinds import compressed_tensors, own


def test_every_folder_is_a_format() -> None:
    folders = {path.name for path in Path(registry.kinds.__path__[0]).iterdir() if path.is_dir()}
    assert len(known_formats().own) == len(folders - {"__pycache__"})
    assert known_formats().named("tersor") is own.FORMAT


def test_compressed_tensors_is_tried_first() -> None:
    assert list(known_formats().preferred()) == [compressed_tensors.FORMAT, own.FORMAT]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(OptionError, match=r"^format 'tensor' is not known; did you mean 'tersor'"):
        known_formats().named("tensor")


@pytest.mark.parametrize("method", ["gptqq", None, ["tersor"]])
def test_a_description_by_somebody_else(method: object) -> None:
    config = {"quantization_config": {"quant_method": method}}
    said = r"it reads awq, compressed-tensors, gguf, gptq, mlx and tersor; "
    with pytest.raises(FormatError, match=said):
        known_formats().describing(config, Path("x"))


def test_other_packages_are_looked_for_only_if_asked_for_what_is_not_here() -> None:
    def looked() -> dict[str, object]:
        raise LookupError

    formats = Formats(known_formats().own, looked)  # type: ignore[arg-type]
    assert formats.named("tersor") is own.FORMAT
    assert formats.including(compressed_tensors.FORMAT).named("compressed-tensors")
    with pytest.raises(LookupError):
        formats.named("toy")


def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    package = tmp_path / "broken-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[tersor.formats]\nthing = not_there:FORMAT\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tersor.errors import FormatError\n"
        "from tersor.formats import known_formats\n"
        "try: known_formats().named('thing')\n"
        "except FormatError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the format thing of broken cannot be loaded (ModuleNotFoundError" in run.stdout
