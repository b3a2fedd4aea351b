"""What transformers says of a file, in one line."""

_LONGEST = 300


def complaint(error: BaseException) -> str:
    """Kind and text of an error that came out of transformers, as one short line."""
    # Without "Validation error for field 'x'", which says nothing that the rest does not.
    text = " ".join(str(error).partition("Errors:")[0].split())
    said = text.partition("TypeError: ")[2] if "TypeError: Field " in text else ""
    named = said or f"{type(error).__name__}: {text}".removesuffix(": ")
    return named if len(named) <= _LONGEST else f"{named[: _LONGEST - 1]}…"
