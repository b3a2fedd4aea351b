"""Which scheme each group of matrices gets, within a budget: scores in, choices out.

options  what there is to choose from, as values
solve    the least loss within a size, or the least size within a loss
"""

from tersor.allocation.options import Allocation, Group, Option
from tersor.allocation.solve import least_bytes, least_loss

__all__ = ["Allocation", "Group", "Option", "least_bytes", "least_loss"]
