"""The field that is to blame where transformers makes nothing of a config."""

from collections.abc import Callable, Mapping
from typing import Any


def culprit(fields: Mapping[str, Any], make: Callable[[Mapping[str, Any]], object]) -> str:
    """The field without which ``make`` raises nothing; empty if it is no single one."""
    for field in fields:
        if field == "model_type":
            continue
        try:
            make({key: value for key, value in fields.items() if key != field})
        except Exception:
            continue
        return field
    return ""
