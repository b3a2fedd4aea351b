"""YAML as people write it, read without surprises.

Recipes travel with models, so they are not trusted: only plain values can be built (PyYAML's safe
loader), merge keys are refused because a few nested ones expand to gigabytes, and a key that occurs
twice is an error instead of the last one winning.
"""

from typing import Any

import yaml

from tersor.errors import RecipeError


class _Loader(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """PyYAML's place for merge keys; runs before a mapping is built."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: merge keys (<<) are refused")
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: key {repeated!r} occurs twice")


def read_mapping(text: str, origin: str) -> dict[str, Any]:
    """The mapping that ``text`` describes. ``origin`` is the file or preset, for messages.

    Raises :class:`RecipeError`.
    """
    try:
        data = yaml.load(text, _Loader)
    except RecursionError:
        raise RecipeError(f"{origin} is not a recipe: it is nested too deeply") from None
    except (
        Exception
    ) as error:  # a malformed date or number leaves PyYAML as ValueError, KeyError, …
        raise RecipeError(f"{origin} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{origin} is not a recipe: it must be a mapping with the key 'weights'")
    return data
