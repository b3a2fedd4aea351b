"""Headers for people, for the names of fields."""

from dataclasses import fields

from tersor.evaluation import Evaluation
from tersor.report import COLUMNS, for_people


def test_fields_get_their_headers_in_order() -> None:
    rows = [{"recipe": "w4", "bytes": 113_040_000, "kl_median": 0.3049, "seconds": 2.0}]
    (shown,) = for_people(rows)
    assert list(shown) == ["recipe", "MB", "KL median", "seconds"]
    assert shown["MB"] == 113.04
    assert shown["KL median"] == 0.3049


def test_what_is_missing_stays_missing() -> None:
    assert for_people([{"bytes": None, "kl_mean": None}]) == [{"MB": None, "KL": None}]


def test_headers_are_of_fields_that_there_are() -> None:
    compared = {"bits_per_quantized_weight", "bytes"}
    assert set(COLUMNS) - compared <= {field.name for field in fields(Evaluation)}
    assert len({column.header for column in COLUMNS.values()}) == len(COLUMNS)
