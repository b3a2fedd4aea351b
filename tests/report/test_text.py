"""Numbers as people read them."""

import pytest

from tersor.report import duration, figure, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (113_175_416, "113 MB"),
        (3.86e9, "3.86 GB"),
        (5e12, "5 TB"),
    ],
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.417, "0.42 s"), (38.2, "38 s"), (245, "4 min 05 s"), (7980, "2 h 13 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_figure() -> None:
    assert figure(None) == "–"
    assert figure(0.00268912) == "0.002689"
    assert figure(27.3781, 3) == "27.4"
