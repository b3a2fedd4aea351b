"""What calibration decided about one unit, handed over to be written."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from tersor.ranges import Stream
from tersor.rounding import Rounded


@dataclass(frozen=True, eq=False)
class Seen:
    """What calibration saw of one linear.

    ``tokens``: rows it read. ``stream``: its input, if its activations are static.
    ``output_error``: ``E‖(W − Ŵ)x‖² / E‖Wx‖²``, if second moments of its input were gathered.
    """

    tokens: int
    stream: Stream | None = None
    output_error: float | None = None


@dataclass(frozen=True, eq=False)
class Work:
    """Decisions about one unit; what is not mentioned is rounded to nearest, or stays as it is.

    ``changed``: tensors that a transform or correction changed, float32, by published name.
    ``rounded`` and ``seen`` by module.
    """

    changed: Mapping[str, Tensor] = field(default_factory=dict)
    rounded: Mapping[str, Rounded] = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)
