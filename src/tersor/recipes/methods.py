"""Methods as written in a recipe: a name and its numbers. ``{method: gptq, damping: 0.01}``.

The classes are frozen values that check themselves; here their fields are only held against the
types they are declared with.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from reprlib import repr as clipped
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tersor.errors import RecipeError
from tersor.options import did_you_mean

T = TypeVar("T")


def parse_method(data: Any, where: str, known: Mapping[str, type[T]]) -> T:
    """The value that ``{"method": …, parameter: …}`` or the bare name describes.

    ``where`` names it in messages. Raises :class:`RecipeError`.
    """
    parameters = {"method": data} if isinstance(data, str) else data
    if not isinstance(parameters, Mapping):
        raise RecipeError(f"{where} must be a method or a mapping, not {shown(data)}")
    parameters = dict(parameters)
    method = parameters.pop("method", None)
    if not isinstance(method, str) or method not in known:
        hint = did_you_mean(method if isinstance(method, str) else "", known)
        raise RecipeError(f"{where}.method {shown(method)} unknown{hint}")
    return known[method](**_checked(parameters, known[method], where))


def method_to_dict(value: Any, known: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Inverse of :func:`parse_method`; every parameter is written out."""
    return {"method": name_of(value, known), **asdict(value)}


def name_of(value: Any, known: Mapping[str, type[Any]]) -> str:
    """The name of a method. Raises :class:`RecipeError` for one that has none."""
    for name, kind in known.items():
        if type(value) is kind:
            return name
    raise RecipeError(f"{type(value).__name__} has no name in recipes; known: {', '.join(known)}")


def shown(value: object) -> str:
    """A value for a message; a list in a recipe may be short to write and endless to print."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else clipped(value)


def _checked(parameters: Mapping[str, Any], kind: type[Any], where: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for key, value in parameters.items():
        if key not in known:
            raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")
        _check(value, hints[key], f"{where}.{key}")
    return dict(parameters)


def _check(value: Any, hint: Any, where: str) -> None:
    if value is None and NoneType in get_args(hint):
        return
    if get_origin(hint) is UnionType:
        hint = next(part for part in get_args(hint) if part is not NoneType)
    name, accepted = _KINDS.get(hint, _WORD)
    # A bool is an int to Python, and never what is meant by a number.
    if not isinstance(value, accepted) or (isinstance(value, bool) and accepted is not bool):
        raise RecipeError(f"{where} must be {name}, not {shown(value)}")


_KINDS: Mapping[Any, tuple[str, Any]] = {
    int: ("a whole number", int),
    float: ("a number", int | float),
    bool: ("true or false", bool),
}
_WORD = ("a word", str)
