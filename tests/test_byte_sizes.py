import pytest

from tersor.byte_sizes import human_bytes, parsed_bytes


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


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20GB", 20_000_000_000),
        ("500 MB", 500_000_000),
        ("4.1g", 4_100_000_000),
        (" 1234 ", 1234),
        ("90", 90),
        ("", None),
        ("-5MB", None),
        ("5 MiB", None),
        ("much", None),
    ],
)
def test_sizes_as_people_write_them(text, count):
    assert parsed_bytes(text) == count
