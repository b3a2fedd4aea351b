"""Sizes as people read and write them."""

import re

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parsed_bytes(text: str) -> int | None:
    """The bytes of ``20GB``, ``500 MB``, ``4.1g`` or ``1234``; ``None`` for what is no size."""
    match = _FORM.fullmatch(text.strip())
    return None if match is None else round(float(match[1]) * _UNITS[match[2].lower()])


def human_bytes(count: int) -> str:
    """A size as people read it, in decimal units: ``287 MB``, ``4.1 GB``."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.1f} {unit}" if unit == "GB" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
