import pytest

from tersor.byte_sizes import human_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (287_000_000, "287 MB"),
        (999_600_000, "1.0 GB"),
        (4_100_000_000, "4.1 GB"),
        (2_500_000_000_000, "2.5 TB"),
    ],
)
def test_sizes_read_as_people_write_them(count, text):
    assert human_bytes(count) == text
