"""Patterns that name modules in recipes and flags."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from tersor.errors import RecipeError
from tersor.options import did_you_mean


def matches(pattern: str, module: str) -> bool:
    """Whether a pattern names a module such as ``model.layers.3.mlp.down_proj``.

    - ``re:…`` is a regular expression that must match from the start, as in compressed-tensors
    - with ``*``, ``?`` or ``[`` it is a shell pattern for the whole name
    - otherwise it is the name, or its last parts: ``down_proj``, ``mlp.down_proj``
    """
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    if any(wildcard in pattern for wildcard in "*?["):
        return fnmatchcase(module, pattern)
    return module == pattern or module.endswith(f".{pattern}")


def check_pattern(pattern: str) -> str:
    """The pattern itself. Raises :class:`RecipeError` if it is empty or no regular expression."""
    if not pattern:
        raise RecipeError("a module pattern is empty")
    if pattern.startswith("re:"):
        try:
            re.compile(pattern[3:])
        except re.error as error:
            raise RecipeError(f"pattern {pattern!r} is no regular expression: {error}") from error
    return pattern


def require_match(pattern: str, modules: Iterable[str], origin: str) -> None:
    """Raise :class:`RecipeError` if a pattern names none of the modules.

    ``origin``: where the pattern was given, for the message: ``--exclude``, ``override``.
    """
    names = list(modules)
    if any(matches(pattern, name) for name in names):
        return
    leaves = sorted({name.rsplit(".", 1)[-1] for name in names})
    raise RecipeError(
        f"{origin} {pattern!r} matches no module of this model{did_you_mean(pattern, leaves)}"
    )
