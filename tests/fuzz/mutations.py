"""Values of JSON and YAML that nobody meant."""

import json
from random import Random
from typing import Any

Place = tuple[Any, Any]
"""A dictionary or list and a key or index in it."""


class Raw:
    """JSON text that stands for itself."""

    def __init__(self, text: str) -> None:
        self.text = text


class Again(str):
    """A key that a dictionary has already: it is written twice."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 64, 0.5, -0.5, 1e-320, 1e30, 1e308),
    *(float("nan"), float("inf"), -float("inf"), 2**31, 2**32 + 1, 2**63, -(2**63), 10**30),
    *("", " ", "a", "0", "1", "-1", "None", "nan", "é", "\x1b[31m", "\0", "\ud800", "../x", "/"),
    *("a" * 100_000, "two\nlines", "{}", "re:(", "*", "weight"),
    *([], [[]], [None], [0], [1, 2, 3], ["a"], [{}], {}, {"a": 1}, {"": None}, {"a": {"b": []}}),
    *(Raw("[" * 300 + "]" * 300), Raw("[" * 100_000 + "]" * 100_000), Raw('{"a":' * 2000 + "1")),
    *(Raw("1" * 5000), Raw("1e999"), Raw("-0"), Raw("[0" + ",0" * 20_000 + "]"), Raw("'a'")),
)


def mutate(value: Any, random: Random, words: tuple[str, ...] = ()) -> str:
    """Change one to three places of ``value`` itself, and say what was done.

    ``words``: further values, of which some mean something there.
    """
    count = random.choice((1, 1, 1, 2, 3))
    return "; ".join(_mutate_once(value, random, words) for _ in range(count))


def dumped(value: Any) -> str:
    """JSON, which ``Raw`` and ``Again`` may have broken."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(key))}: {dumped(held)}" for key, held in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumped, value)) + "]"
    return json.dumps(value)


def places(value: Any) -> list[Place]:
    """Everywhere in ``value``."""
    found: list[Place] = []
    keys = value if isinstance(value, dict) else range(len(value) if type(value) is list else 0)
    for key in keys:
        found += [(value, key), *places(value[key])]
    return found


def _mutate_once(value: Any, random: Random, words: tuple[str, ...]) -> str:
    found = places(value)
    if not found:
        return "nothing to change"
    owner, key = random.choice(found)
    if isinstance(owner, dict) and random.random() < 0.35:
        return _other_key(owner, key, random)
    if random.random() < 0.15:
        other, there = random.choice(found)
        if there in other if isinstance(other, dict) else there < len(other):
            owner[key], other[there] = other[there], owner[key]
            # A value that holds itself could not be written.
            if not _circular(value):
                return f"{key!r} and {there!r} swapped"
            owner[key], other[there] = other[there], owner[key]
    owner[key] = _other_value(owner[key], random, words)
    return f"{key!r} is {_shown(owner[key])}"


def _circular(value: Any, above: tuple[int, ...] = ()) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    if id(value) in above:
        return True
    held = value.values() if isinstance(value, dict) else value
    return any(_circular(one, (*above, id(value))) for one in held)


def _other_key(owner: dict[str, Any], key: str, random: Random) -> str:
    match random.choice(("remove", "rename", "twice", "more")):
        case "remove":
            del owner[key]
            return f"{key!r} removed"
        case "rename":
            name = random.choice((f"{key}x", key.upper(), "", key[:-1], f"{key}.", "\ud800"))
            owner[name] = owner.pop(key)
            return f"{key!r} renamed to {name!r}"
        case "twice":
            owner[Again(key)] = random.choice(STRANGE)
            return f"{key!r} twice"
        case _:
            owner["unknown"] = random.choice(STRANGE)
            return f"an unknown key beside {key!r}"


def _other_value(value: Any, random: Random, words: tuple[str, ...]) -> Any:
    choice = random.random()
    if choice < 0.4:
        return random.choice(_near(value))
    if words and choice < 0.6:
        return random.choice(words)
    return random.choice(STRANGE)


def _near(value: Any) -> list[Any]:
    """Values that somebody may take for it."""
    near: list[Any] = [[value], {"": value}]
    match value:
        case bool():
            near += [not value, int(value), str(value), None]
        case int():
            near += [value + 1, value - 1, -value, 2 * value, value // 2, 3 * value, value * 1000]
            near += [value + 0.5, float(value), str(value)]
        case float():
            near += [-value, value * 1e10, value * 1e-10, 0.0, str(value)]
        case str():
            near += [value[:-1], value + "x", value.upper(), " " + value, value + "\n", value * 50]
            near += [value[::-1], list(value), {value: value}]
        case list():
            near += [value[:-1], value + value, value[::-1], [*value, None], *value[:1]]
        case dict():
            near += [list(value), dict(list(value.items())[:-1])]
    return near


def _shown(value: Any) -> str:
    return value.text[:40] if isinstance(value, Raw) else repr(value)[:60]
