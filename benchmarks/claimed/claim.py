"""What a claim is, and what was found of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claimed.study import Study


class Verdict(Enum):
    """In English and in Chinese."""

    TRUE = ("true", "正确")
    CONDITIONS = ("true under conditions", "有条件地正确")
    FALSE = ("false", "不正确")
    OPEN = ("not checked here", "此处未验证")


@dataclass(frozen=True)
class Finding:
    """The verdict, and the right statement with its figures, in English and in Chinese."""

    verdict: Verdict
    said: str
    said_zh: str


@dataclass(frozen=True)
class Claim:
    """One statement of the text. ``answer``: which of its four; ``name``: for ``--only``.

    ``command``: how a reader sees it with the command line, beside the check itself.
    """

    answer: int
    name: str
    text: str
    text_zh: str
    check: Callable[["Study"], Finding]
    command: str = ""


def judged(true: bool, said: str, said_zh: str) -> Finding:
    """True or false."""
    return Finding(Verdict.TRUE if true else Verdict.FALSE, said, said_zh)


def under_conditions(said: str, said_zh: str) -> Finding:
    """True in one case, and not in another."""
    return Finding(Verdict.CONDITIONS, said, said_zh)


def wrong(said: str, said_zh: str) -> Finding:
    """False, with what is right."""
    return Finding(Verdict.FALSE, said, said_zh)
