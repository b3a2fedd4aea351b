"""The same rows as CSV and Markdown."""

import csv
import io

from tersor.report import to_csv, to_markdown

ROWS = (
    {"recipe": "original", "KL": None, "bits": 16.0},
    {"recipe": 'w4, "mine"', "KL": 0.40981234, "bits": 4.25},
)


def test_csv_survives_quotes_and_commas() -> None:
    back = list(csv.DictReader(io.StringIO(to_csv(ROWS))))
    assert [row["recipe"] for row in back] == ["original", 'w4, "mine"']
    assert back[0]["KL"] == ""
    assert float(back[1]["KL"]) == 0.40981234


def test_markdown_has_one_line_per_row() -> None:
    lines = to_markdown(ROWS).splitlines()
    assert lines[0] == "| recipe | KL | bits |"
    assert len(lines) == 4
    assert lines[2] == "| original | – | 16 |"
    assert "0.4098" in lines[3]
