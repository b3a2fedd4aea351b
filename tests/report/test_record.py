"""Records as JSON."""

import json

from tersor.report import LayerRecord


def test_infinite_sqnr_is_no_json_number() -> None:
    record = LayerRecord("m", (2, 8), "W8A16", 20, sqnr_db=float("inf"))
    document = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert document["sqnr_db"] is None
    assert document["bits_per_weight"] == 10
    assert document["shape"] == [2, 8]
