"""Numbers as people read them."""


def size(count: float) -> str:
    """Bytes in decimal units: ``89.3 MB``, ``3.86 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """``0.42 s``, ``38 s``, ``4 min 05 s``, ``2 h 13 min``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def figure(value: float | None, digits: int = 4) -> str:
    """Significant digits, never more than needed; ``–`` for a missing value."""
    return "–" if value is None else f"{value:.{digits}g}"
