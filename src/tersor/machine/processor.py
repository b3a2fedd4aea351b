"""What this machine's processor is called."""

import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# x86 says its name, AArch64 who made it and which part it is.
_SAID = re.compile(r"^(?:model name|CPU (?:implementer|part))\s*:\s*(.+)$", re.MULTILINE)


def processor() -> str:
    """Its name, or numbers that stand for it; of every kind of core, if there are several."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8")
    except OSError:  # no Linux
        text = ""
    return ", ".join(dict.fromkeys(_SAID.findall(text))) or platform.processor()
