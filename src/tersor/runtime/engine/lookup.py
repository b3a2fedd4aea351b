"""Prompt-lookup decoding: guess that the text goes on as it did before.

https://github.com/apoorvumang/prompt-lookup-decoding
"""

from collections.abc import Sequence

_LONGEST = 3


def draft(tokens: Sequence[int], count: int) -> list[int]:
    """Up to ``count`` tokens that followed the latest earlier occurrence of the last ones.

    The last three tokens are looked for, then the last two; none found, nothing is drafted.
    """
    for size in range(min(_LONGEST, len(tokens) - 1), 1, -1):
        last = list(tokens[-size:])
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start] == last[0] and list(tokens[start : start + size]) == last:
                return list(tokens[start + size : start + size + count])
    return []
