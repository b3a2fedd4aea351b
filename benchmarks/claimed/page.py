"""Claims and findings as Markdown, in English and in Chinese."""

from collections.abc import Sequence

from claimed.claim import Claim, Finding, Verdict

_ANSWERS = {
    1: ("Why so little is lost at 8 bits", "为什么 FP16 → INT8 损失很小"),
    2: ("How weights come back", "如何还原权重"),
    3: ("Why some loss is inevitable", "为什么一定有损失"),
    4: ("What GPTQ, AWQ, SmoothQuant and OPTQ add", "GPTQ、AWQ、SmoothQuant、OPTQ 的改进"),
}
Found = Sequence[tuple[Claim, Finding]]


def english(found: Found, conditions: str) -> str:
    """The page with commands."""
    lines = [
        "# Claims",
        "",
        "What the text that tersor grew from (`llm-quantization-explained.md`: four questions and "
        "answers) says, and what is measured. Written by `python benchmarks/claims.py`: each row is "
        "checked by `python benchmarks/claims.py MODEL -o OUT --only NAME`; the commands show the "
        "same to a reader. Perplexity and KL divergence (nats): dequantized in float32 where "
        "nothing else is said. [Chinese](claims.zh.md).",
        "",
        conditions,
        "",
        _counted(found),
    ]
    for answer, (title, _) in _ANSWERS.items():
        lines += ["", f"## {answer}. {title}", ""]
        lines += ["| name | the text says | verdict | what is so |", "|---|---|---|---|"]
        for claim, finding in found:
            if claim.answer == answer:
                seen = f" See: `{claim.command}`" if claim.command else ""
                cells = (claim.name, claim.text, f"**{finding.verdict.value[0]}**", finding.said)
                lines.append("| " + " | ".join(map(_cell, cells)) + _cell(seen) + " |")
    return "\n".join(lines) + "\n"


def chinese(found: Found, conditions: str) -> str:
    """The short answers."""
    lines = [
        "# 原文论断与实测",
        "",
        "tersor 源自一篇四问四答的文章(`llm-quantization-explained.md`)。下表逐条给出实测结论，由 "
        "`python benchmarks/claims.py` 生成；单条验证：`python benchmarks/claims.py MODEL -o OUT --only 名称`。"
        "命令见[英文版](claims.md)。",
        "",
        conditions,
    ]
    for answer, (_, title) in _ANSWERS.items():
        lines += ["", f"## {answer}. {title}", ""]
        lines += ["| 名称 | 原文 | 结论 | 实际情况 |", "|---|---|---|---|"]
        lines += [
            "| "
            + " | ".join(
                map(
                    _cell,
                    (claim.name, claim.text_zh, f"**{finding.verdict.value[1]}**", finding.said_zh),
                )
            )
            + " |"
            for claim, finding in found
            if claim.answer == answer
        ]
    return "\n".join(lines) + "\n"


def _counted(found: Found) -> str:
    counts = [
        f"{sum(finding.verdict is verdict for _, finding in found)} {verdict.value[0]}"
        for verdict in Verdict
    ]
    return f"Of {len(found)} claims: {', '.join(counts)}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
