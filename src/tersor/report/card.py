"""The model card: ``README.md`` of an artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tersor.report.command import RECIPE
from tersor.report.conversion_card import card_header_lines
from tersor.report.record import LayerRecord, damage_warning, worst_first
from tersor.report.text import figure, size

_LOSS_BEGIN, _LOSS_END = "<!-- tersor: loss -->", "<!-- tersor: end of loss -->"


@dataclass(frozen=True)
class CardFacts:
    """What a model card says besides the per-layer records.

    ``texts``: lines about what was read. ``given``: names of the files that were; ``command``
    makes the artifact again. ``hub_base``: what hubs call the original, if they have it.
    """

    title: str
    base_model: str
    licence: str | None
    recipe_name: str
    recipe_description: str
    recipe_yaml: str
    scheme: str
    method: str
    source_bytes: int
    total_bytes: int
    bits_per_weight: float
    bits_per_quantized_weight: float
    version: str
    readers: str
    notes: tuple[str, ...]
    texts: tuple[str, ...]
    source_digest: str
    given: tuple[str, ...]
    command: str
    hub_base: str | None = None


def model_card(facts: CardFacts, records: Sequence[LayerRecord]) -> str:
    """Markdown with the metadata header that model hubs read."""
    quantized = [record for record in records if not record.reason]
    return "\n".join(
        [
            *card_header_lines(facts.method, facts.licence, facts.hub_base),
            f"# {facts.title}",
            "",
            f"`{facts.base_model}` quantized by tersor {facts.version} with the recipe "
            f"[`{facts.recipe_name}`]({RECIPE}): {facts.recipe_description}",
            "",
            f"- scheme: {facts.scheme}",
            f"- size: {size(facts.total_bytes)}, was {size(facts.source_bytes)}",
            f"- {facts.bits_per_quantized_weight:.2f} bits per quantized weight, "
            f"{facts.bits_per_weight:.2f} per parameter of the model",
            f"- format: {facts.method}",
            f"- read by: {facts.readers}",
            *(f"- {text}" for text in facts.texts),
            *(f"- note: {note}" for note in facts.notes),
            "",
            "## What was lost",
            "",
            _LOSS_BEGIN,
            "The loss on text has not been measured yet: `tersor evaluate DIR --base ORIGINAL "
            "--update-card`.",
            _LOSS_END,
            "",
            *_warning(records),
            "Weights, worst layers first (SQNR is signal to quantization noise):",
            "",
            *_worst_layers(quantized),
            "",
            f"{len(quantized)} matrices quantized, {len(records) - len(quantized)} left as they "
            "were. [tersor.json](tersor.json) has one record for each.",
            "",
            "## How to make it again",
            "",
            *_again(facts),
        ]
    )


def with_loss(card: str, evaluation: Mapping[str, Any], stored_bytes: float | None = None) -> str:
    """The card with its loss section replaced by a table of measurements.

    ``stored_bytes``: of all tensors, which the loss is worth nothing without.
    """
    if not takes_loss(card):
        return card
    before, _, rest = card.partition(_LOSS_BEGIN)
    _, _, after = rest.partition(_LOSS_END)
    return f"{before}{_LOSS_BEGIN}\n{_loss_table(evaluation, stored_bytes)}{_LOSS_END}{after}"


def takes_loss(card: str) -> bool:
    """Whether a card has a section for the loss, as those that tersor made do."""
    _, found, rest = card.partition(_LOSS_BEGIN)
    return bool(found) and _LOSS_END in rest


def _again(facts: CardFacts) -> list[str]:
    files = [
        f"[{RECIPE}]({RECIPE}) of this directory",
        f"`{facts.base_model}`",
        *map("`{}`".format, facts.given),
    ]
    return [
        f"Where {', '.join(files[:-1])} and {files[-1]} lie:",
        "",
        *_fenced("sh", facts.command),
        "",
        "`made` in the recipe says what it was made with and what came of it. Other texts are "
        f"refused; other weights than those with the digest `{facts.source_digest}`, other "
        "versions and another result are said. To use it for something else, take `made` out.",
        "",
        *_fenced("yaml", facts.recipe_yaml.rstrip()),
        "",
    ]


def _fenced(language: str, text: str) -> list[str]:
    """A code block that nothing in ``text`` ends."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", text, fence]


def _warning(records: Sequence[LayerRecord]) -> list[str]:
    warning = damage_warning(records)
    return [f"**Warning:** {warning}", ""] if warning else []


def _worst_layers(records: Sequence[LayerRecord]) -> list[str]:
    rows = [
        f"| {record.module} | {record.bits_per_weight:.2f} | {figure(record.sqnr_db)} "
        f"| {figure(record.largest_error, 3)} |"
        for record in worst_first(records)[:8]
    ]
    return [
        "| matrix | bits per weight | SQNR, dB | largest error |",
        "|---|---:|---:|---:|",
        *rows,
    ]


def _loss_table(evaluation: Mapping[str, Any], stored_bytes: float | None) -> str:
    digests = evaluation.get("text_sha256") or ()
    told = [f" (sha256 {digest[:12]}…)" for digest in digests]
    names = evaluation.get("texts") or ["text"]
    texts = ", ".join(f"{name}{digest}" for name, digest in zip_longest(names, told, fillvalue=""))
    rows = [
        ("size, MB", None if stored_bytes is None else stored_bytes / 1e6),
        ("perplexity", evaluation.get("perplexity")),
        ("perplexity of the original", evaluation.get("base_perplexity")),
        ("KL divergence, mean", evaluation.get("kl_mean")),
        ("KL divergence, median", evaluation.get("kl_median")),
        ("KL divergence, 99th percentile", evaluation.get("kl_p99")),
        ("same most likely token", evaluation.get("top1_agreement")),
    ]
    first = ", ".join(map(str, evaluation.get("first_tokens") or ()))
    behind = f" (each begins with the tokenizer's first token, {first})" if first else ""
    skip = evaluation.get("skip") or 0
    scored = f", scored behind the first {skip + 1} tokens of each" if skip else ""
    run_by = evaluation.get("run_by") or "float32"
    ran = "in float32" if run_by == "float32" else f"run by {run_by}"
    compared = evaluation.get("base_perplexity") is not None
    against = ", against the original in float32" if compared else ""
    lines = [
        f"On {evaluation['tokens']} tokens of {texts}, {evaluation['windows']} windows of "
        f"{evaluation['context']}{behind}{scored}, {ran}{against}:",
        "",
        "| measure | value |",
        "|---|---:|",
        *(f"| {name} | {figure(value)} |" for name, value in rows if value is not None),
        "",
    ]
    return "\n".join(lines)
