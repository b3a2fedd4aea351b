"""The model card of what has the codes of another artifact."""

from dataclasses import dataclass

from tersor.report.text import size


@dataclass(frozen=True)
class ConversionFacts:
    """``source_format``, ``format``: names; ``bytes``: of all tensors."""

    title: str
    source: str
    source_format: str
    format: str
    modules: int
    bytes: int
    version: str
    readers: str
    base_model: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()


def conversion_card(facts: ConversionFacts) -> str:
    """Markdown with the metadata header that model hubs read."""
    return "\n".join(
        [
            *card_header_lines(facts.format, facts.licence, facts.base_model),
            f"# {facts.title}",
            "",
            f"The codes of `{facts.source}` ({facts.source_format}), written as {facts.format} by "
            f"tersor {facts.version}: nothing was quantized a second time.",
            "",
            f"- {facts.modules} quantized linears, {size(facts.bytes)}",
            f"- read by: {facts.readers}",
            *(f"- note: {note}" for note in facts.notes),
            "",
        ]
    )


def card_header_lines(method: str, licence: str | None, base_model: str | None) -> list[str]:
    """What hubs read: tags, licence, and which model this is a quantization of."""
    tags = dict.fromkeys(("tersor", method))
    lines = ["---", "tags:", *(f"- {tag}" for tag in tags)]
    if licence:
        lines.append(f"license: {licence}")
    if base_model:
        lines += [f"base_model: {base_model}", "base_model_relation: quantized"]
    return [*lines, "---", ""]
