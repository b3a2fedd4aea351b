"""What an evaluation found: one frozen record per model and set of windows."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """Loss of a model on text, and its divergence from a base model when there is one.

    Logarithms are natural. The fields from ``base_perplexity`` on are ``None`` without a base.

    - ``tokens``: positions scored; ``windows`` of ``context`` tokens each, of which the first
      ``skip`` positions are context only. ``first_tokens``: special tokens that each window begins
      with; they are always context only.
    - ``texts``: names of the files; ``text_sha256``: of their bytes; ``windows_sha256``: of all
      windows, int64 little-endian; ``notes``: how rows of a data set were read.
    - ``run_by``: what ran the model; the base is always run in float32.
    - ``nll``: mean negative log-likelihood per token; ``nll_stderr``: its standard error, the
      positions taken as independent (they are not quite, so it is a lower bound).
    - ``perplexity``: ``exp(nll)``.
    - ``kl_*``: mean, quantiles and maximum over the positions of
      ``Σ_v p(v)·(ln p(v) − ln q(v))``, p of the base and q of this model.
    - ``top1_agreement``: share of positions at which both models find the same token most likely.
    - ``rms_delta_p``: root of the mean squared difference of the true token's probability.
    - ``ln_ppl_ratio``: ``ln(perplexity / base_perplexity)``.
    """

    tokens: int
    windows: int
    context: int
    skip: int
    perplexity: float
    nll: float
    nll_stderr: float
    first_tokens: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    text_sha256: tuple[str, ...] = ()
    windows_sha256: str = ""
    run_by: str = "float32"
    notes: tuple[str, ...] = ()
    base_perplexity: float | None = None
    kl_mean: float | None = None
    kl_median: float | None = None
    kl_p90: float | None = None
    kl_p99: float | None = None
    kl_max: float | None = None
    top1_agreement: float | None = None
    rms_delta_p: float | None = None
    ln_ppl_ratio: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Every field as a plain JSON value; a perplexity beyond float64 becomes ``None``."""
        values = dataclasses.asdict(self) | {
            "texts": list(self.texts),
            "text_sha256": list(self.text_sha256),
            "notes": list(self.notes),
            "first_tokens": list(self.first_tokens),
        }
        return {name: None if value == math.inf else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evaluation":
        """What :meth:`to_dict` gave."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**(read | {"perplexity": math.inf} if read["perplexity"] is None else read))
