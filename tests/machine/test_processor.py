"""Names of processors."""

from pathlib import Path

import pytest

from tersor.machine import processor as module
from tersor.machine.processor import processor

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n"
ARM = "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU implementer\t: 0x41\nCPU part\t: 0xd0d\n"


@pytest.mark.parametrize(("text", "name"), [(X86, "AMD EPYC"), (ARM, "0x41, 0xd0c, 0xd0d")])
def test_every_kind_of_core_once(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    monkeypatch.setattr(module, "_CPUINFO", file)
    assert processor() == name


def test_elsewhere_it_is_what_the_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert processor() == "arm"
