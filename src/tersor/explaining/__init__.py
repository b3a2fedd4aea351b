"""Numbers in, story out: how values become codes and come back, every step with its numbers.

given     values as people write them → float32
steps     values through a grid, one step after the other
values    a few values: ``explain_values``
stored    the bits of a stored float
weight    one weight of a matrix on its way: ``follow``
formulas  the same as text, formulas with the numbers put in

Numbers come from :mod:`tersor.grids`; nothing here rounds by itself.
"""

from tersor.explaining.steps import Step
from tersor.explaining.values import Explanation, explain_values

__all__ = ["Explanation", "Step", "explain_values"]
