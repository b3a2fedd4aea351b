"""Perplexity of a model on windows of text, and its KL divergence from a base model."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tersor.errors import SourceError, TextError
from tersor.evaluation.bases import Base
from tersor.evaluation.foresight import refuse_foresight
from tersor.evaluation.forward import (
    check_fit,
    evaluating,
    model_name,
    scored_positions,
    window_logits,
)
from tersor.evaluation.measures import Agreement, agreement, log_probabilities, true_token
from tersor.evaluation.record import Evaluation


def evaluate_model(
    model: nn.Module,
    windows: Tensor,
    *,
    base: Base | None = None,
    skip: int = 0,
    first_tokens: Sequence[int] = (),
    texts: Sequence[str] = (),
    notes: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score ``model`` on ``windows (n, T)`` int64, position t predicting t + 1.

    The first ``skip`` positions of each window are context only, so ``T − 1 − skip`` are scored.
    ``first_tokens`` are the special tokens that every window begins with, for the record; ``skip``
    is at least as many. The model computes in the dtype it was loaded in (load it in fp32 to
    compare), one window at a time; its logits are taken to fp32. ``texts`` names the texts in the
    record, ``notes`` say how they were read, and ``progress(done, total)`` counts windows.

    Raises :class:`TextError` for windows the model or the base cannot be scored on,
    :class:`SourceError` when logits are not finite or the vocabularies differ.
    """
    scored = scored_positions(windows, skip)
    if skip < len(first_tokens):
        raise TextError(
            f"skip {skip} would score what follows special tokens only; it is at least "
            f"{len(first_tokens)} here"
        )
    count, context = windows.shape
    if count * scored < 2:
        raise TextError("one token to score; two are needed for a standard error")
    check_fit(model, windows)
    refuse_foresight(model, windows)
    _check_same_text(base, windows, skip)
    log_likelihoods: list[Tensor] = []
    base_log_likelihoods: list[Tensor] = []
    agreements: list[Agreement] = []
    with evaluating(model):
        for index, window in enumerate(windows):
            targets = window[skip + 1 :].cpu()
            log_q = log_probabilities(window_logits(model, window, skip))
            log_likelihoods.append(true_token(log_q, targets))
            if base is not None:
                log_p = base.log_probabilities(index)
                _check_same_shape(model, log_p, log_q)
                base_log_likelihoods.append(true_token(log_p, targets))
                agreements.append(agreement(log_p, log_q, targets))
            if progress is not None:
                progress(index + 1, count)
    nll = -torch.cat(log_likelihoods)
    mean = float(nll.mean())
    return Evaluation(
        tokens=len(nll),
        windows=count,
        context=context,
        skip=skip,
        first_tokens=tuple(first_tokens),
        texts=tuple(texts),
        notes=tuple(notes),
        perplexity=_exp(mean),
        nll=mean,
        nll_stderr=float(nll.std()) / math.sqrt(len(nll)),
        **(_summary(mean, base_log_likelihoods, agreements) if base is not None else {}),
    )


def _summary(
    nll: float, base_log_likelihoods: list[Tensor], agreements: list[Agreement]
) -> dict[str, Any]:
    """By the fields of the record."""
    kl = torch.cat([a.kl for a in agreements])
    delta_p = torch.cat([a.delta_p for a in agreements])
    same = torch.cat([a.top1_agrees for a in agreements])
    base_nll = -float(torch.cat(base_log_likelihoods).mean())
    return {
        "base_perplexity": _exp(base_nll),
        "kl_mean": float(kl.mean()),
        "kl_median": _quantile(kl, 0.5),
        "kl_p90": _quantile(kl, 0.9),
        "kl_p99": _quantile(kl, 0.99),
        "kl_max": float(kl.max()),
        "top1_agreement": float(same.double().mean()),
        "rms_delta_p": float(delta_p.square().mean().sqrt()),
        "ln_ppl_ratio": nll - base_nll,
    }


def _quantile(values: Tensor, share: float) -> float:
    """Linear interpolation between order statistics; torch.quantile stops at 16 M values."""
    ordered = values.sort().values
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return float(torch.lerp(ordered[below], ordered[above], place - below))


def _exp(nll: float) -> float:
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def _check_same_text(base: Base | None, windows: Tensor, skip: int) -> None:
    if base is None:
        return
    if base.skip != skip or not torch.equal(base.windows, windows):
        raise TextError("the base was prepared for other windows or another skip; prepare it again")


def _check_same_shape(model: nn.Module, log_p: Tensor, log_q: Tensor) -> None:
    if log_p.shape != log_q.shape:
        raise SourceError(
            f"{model_name(model)}: predicts {log_q.shape[-1]} tokens and the base "
            f"{log_p.shape[-1]}; the two models do not share a vocabulary"
        )
