"""Numbers in, story out: ``explain``."""

from collections.abc import Sequence

from tersor.explaining import Explanation, explain_values
from tersor.options import yes_or_no


def explain(
    values: str | float | Sequence[float | str],
    bits: int = 8,
    *,
    asymmetric: bool = False,
    scale: float | str | None = None,
    zero_point: int | None = None,
) -> Explanation:
    """Quantize a few numbers that share one scale, and keep every step on the way.

    ``values``: numbers, or text like ``"-1.5,0,2"``. ``asymmetric``: with a zero point. ``scale``:
    used as it is; without it the values choose it. ``zero_point``: the signed code that stands
    for 0, beside a given scale.

    Raises :class:`~tersor.errors.OptionError`, which says at which position a value is no number.
    """
    return explain_values(
        values,
        bits,
        asymmetric=yes_or_no("asymmetric", asymmetric),
        scale=scale,
        zero_point=zero_point,
    )
