"""What people write in a file, checked by pydantic."""

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tersor.errors import RecipeError
from tersor.options import Whole, did_you_mean


class Document(BaseModel):
    """Base of everything that is written in a file: no unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_D = TypeVar("_D", bound=Document)


def within(bounds: Whole) -> Any:
    """The field of a number with these bounds."""
    return Field(ge=bounds.least, le=bounds.most)


def validated(model: type[_D], data: Any, where: str) -> _D:
    """The document that ``data`` is; ``where`` names it in messages.

    Raises :class:`RecipeError` naming the key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        # A misspelt key also leaves the right one missing: the misspelling is the better message.
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        path = ".".join(filter(None, [where, *map(str, first["loc"])]))
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, first["loc"][:-1])
            hint = did_you_mean(str(first["loc"][-1]), known)
            raise RecipeError(f"unknown key {path!r}{hint}") from None
        raise RecipeError(f"{path}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Keys of the document that ``path`` leads to inside of ``model``."""
    for part in path:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        model = model if field is None else _document_in(field.annotation) or model
    return list(model.model_fields)


def _document_in(annotation: Any) -> type[BaseModel] | None:
    """The document among the types of a field: of ``tuple[Part, ...] | None`` it is ``Part``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = map(_document_in, get_args(annotation))
    return next((one for one in found if one is not None), None)
