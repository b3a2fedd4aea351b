"""What is lost at which width and granularity: answers 1, 3 and 4."""

from claimed.claim import Claim, Finding, Verdict, judged, under_conditions
from claimed.study import Study

EMBEDDING = ("embed_tokens",)
SIZES = (0, 128, 64, 32)


def _grouped(size: int) -> dict[str, int]:
    """Options of `w4`, which has groups of 64 by itself."""
    return {} if size == 64 else {"group_size": size}


def _int8(study: Study) -> Finding:
    each, one = study.worse("vanilla-int8"), study.worse("int8-per-tensor")
    inside = 0.05 <= each <= 0.10 or 0.05 <= one <= 0.10
    return Finding(
        Verdict.CONDITIONS if inside else Verdict.FALSE,
        f"Perplexity grows by {each:.2%} with one scale per channel and by {one:.1%} with one per "
        f"matrix; KL {study.kl('vanilla-int8'):.4f} and {study.kl('int8-per-tensor'):.3f}. The usual "
        "INT8 loses far less than 5 %.",
        f"逐通道时困惑度增加 {each:.2%}，整个矩阵一个 scale 时增加 {one:.1%};KL 为 "
        f"{study.kl('vanilla-int8'):.4f} 和 {study.kl('int8-per-tensor'):.3f}。通常的 INT8 远低于 5 %。",
    )


def _int4(study: Study) -> Finding:
    found = {name: study.worse(name) for name in ("w4", "awq", "gptq", "gptaq")}
    listed = ", ".join(f"{name} {worse:.0%}" for name, worse in found.items())
    return Finding(
        Verdict.TRUE if found["gptq"] <= 0.02 and found["awq"] <= 0.02 else Verdict.FALSE,
        f"Not for a model of 0.1 billion weights: perplexity grows by {listed}. Small models have "
        "little to spare; published figures of 1 to 2 % are of models of 7 billion and more, which "
        "were not measured here.",
        f"对 1 亿参数的模型不成立：困惑度增加 {listed}。小模型冗余少；文献中的 1–2 % 是 70 亿参数以上的模型，"
        "此处未测量。",
    )


def _int4_is_worse(study: Study) -> Finding:
    eight, four = study.kl("vanilla-int8"), study.kl("w4")
    three = study.kl("w3")
    return judged(
        four > eight,
        f"KL {eight:.4f} at 8 bits, {four:.3f} at 4, {three:.2f} at 3: rounding to nearest, "
        f"{four / eight:.0f} times as much at 4 bits as at 8.",
        f"最近舍入的 KL:8 位 {eight:.4f},4 位 {four:.3f},3 位 {three:.2f};4 位是 8 位的 {four / eight:.0f} 倍。",
    )


def _groups(study: Study) -> Finding:
    found = [study.kl("w4", **_grouped(size)) for size in SIZES]
    listed = ", ".join(
        f"{'per channel' if size == 0 else f'g{size}'} {kl:.3f}"
        for size, kl in zip(SIZES, found, strict=True)
    )
    return judged(
        found == sorted(found, reverse=True),
        f"KL at 4 bits: {listed}. A scale for every row is called per channel, not per layer; one "
        "for a whole layer is per tensor.",
        f"4 位的 KL:{listed}。每行一个 scale 称为逐通道(per-channel)，整层一个才是逐层(per-tensor)。",
    )


def _asymmetric(study: Study) -> Finding:
    with_zero, without = study.kl("w4-asym"), study.kl("w4")
    eight = study.kl("vanilla-int8-asym"), study.kl("vanilla-int8")
    return judged(
        with_zero < without,
        f"KL at 4 bits: {with_zero:.3f} with zero points, {without:.3f} without; at 8 bits "
        f"{eight[0]:.4f} and {eight[1]:.4f}. Zero points take 4 bits per group besides.",
        f"4 位的 KL:有零点 {with_zero:.3f}，无零点 {without:.3f};8 位为 {eight[0]:.4f} 和 {eight[1]:.4f}。"
        "每组零点另占 4 位。",
    )


def _activations(study: Study) -> Finding:
    weights, dynamic, fixed = (study.kl(n) for n in ("vanilla-int8", "w8a8", "w8a8-static"))
    return judged(
        fixed > dynamic > weights,
        f"KL {weights:.4f} with 8-bit weights alone, {dynamic:.3f} with activations of 8 bits too, "
        f"each token with its own scale, {fixed:.3f} with scales fixed by calibration.",
        f"KL:仅权重 8 位 {weights:.4f}；激活也为 8 位且逐 token 动态 {dynamic:.3f}；校准后固定 scale {fixed:.3f}。",
    )


def _storage(study: Study) -> Finding:
    made, original = study.row("vanilla-int8").bytes, study.original.bytes
    whole = study.row("vanilla-int8", include=EMBEDDING).bytes
    return under_conditions(
        f"Of what is quantized, yes: 8 bits and a scale per row. The file shrinks to "
        f"{made / original:.2f}, because the embedding stays as it is, and to {whole / original:.2f} "
        "with it.",
        f"被量化的部分减半(8 位，每行另有一个 scale)。由于词嵌入不变，文件为原来的 {made / original:.2f};"
        f"连词嵌入一起量化则为 {whole / original:.2f}。",
    )


def _memory(study: Study) -> Finding:
    made, original = study.row("w4").bytes, study.original.bytes
    whole = study.row("w4", include=EMBEDDING).bytes
    linears, others = 32 * (4 * 4096**2 + 3 * 4096 * 11008), 2 * 32000 * 4096
    seven = (linears * 4.25 / 8 + others * 2) / 1e9
    all_of_it = (linears + others) * 4.25 / 8 / 1e9
    coarse = (linears + others) * 4.125 / 8 / 1e9
    return under_conditions(
        f"Scales count: 4.25 bits in groups of 64. SmolLM2's file is {original / made:.1f} times "
        f"smaller, {original / whole:.1f} times with the embedding. LLaMA-7B's shape gives "
        f"{seven:.2f} GB, {all_of_it:.2f} GB with embedding and head, and {coarse:.2f} GB in groups "
        "of 128: only the last is under 3.5.",
        f"scale 也要存储：每组 64 个时为 4.25 位。SmolLM2 的文件缩小 {original / made:.1f} 倍，连词嵌入缩小 "
        f"{original / whole:.1f} 倍。LLaMA-7B 为 {seven:.2f} GB，连词嵌入与输出头 {all_of_it:.2f} GB，每组 128 个时 "
        f"{coarse:.2f} GB:只有最后一种低于 3.5 GB。",
    )


CLAIMS = (
    Claim(
        1,
        "int8-is-close",
        "INT4 loses much more than INT8",
        "INT4 的精度下降比 INT8 显著",
        _int4_is_worse,
        "tersor compare smollm2 --recipes vanilla-int8,w4,w3 -o out",
    ),
    Claim(
        1,
        "groups",
        "Groups are finer than channels and lose less",
        "分组量化比逐层(逐通道)量化更精细",
        _groups,
        "tersor quantize smollm2 -o out --recipe w4 --group-size 32",
    ),
    Claim(
        1,
        "activations",
        "Activations are harder to quantize than weights",
        "激活值也可量化，但更复杂",
        _activations,
        "tersor compare smollm2 --recipes vanilla-int8,w8a8,w8a8-static -o out",
    ),
    Claim(
        1,
        "storage",
        "INT8 halves the storage",
        "INT8 使存储减半",
        _storage,
        "tersor quantize smollm2 -o out --recipe vanilla-int8 --dry-run",
    ),
    Claim(
        3,
        "asymmetric",
        "Asymmetric grids lose less",
        "非对称量化可减小损失",
        _asymmetric,
        "tersor compare smollm2 --recipes w4,w4-asym -o out",
    ),
    Claim(
        4,
        "int8-costs",
        "Vanilla INT8 costs 5 to 10 % of precision",
        "Vanilla INT8 可能导致 5–10 % 的精度下降",
        _int8,
        "tersor compare smollm2 --recipes vanilla-int8,int8-per-tensor -o out",
    ),
    Claim(
        4,
        "int4-costs",
        "GPTQ and AWQ keep the loss of INT4 within 1 to 2 %",
        "GPTQ/AWQ 将 INT4 的损失控制在 1–2 % 以内",
        _int4,
        "tersor compare smollm2 --recipes w4,awq,gptq,gptaq -o out",
    ),
    Claim(
        4,
        "int4-memory",
        "INT4 needs a quarter of the memory; LLaMA-7B fits into 3.5 GB",
        "INT4 内存减少 4 倍，LLaMA-7B 可低于 3.5 GB",
        _memory,
        "tersor quantize smollm2 -o out --recipe w4 --dry-run",
    ),
)
