"""Sizes as people read them."""


def human_bytes(count: int) -> str:
    """A size as people read it, in decimal units: ``287 MB``, ``4.1 GB``."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.1f} {unit}" if unit == "GB" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
