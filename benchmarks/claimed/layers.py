"""Which layers matter, and how errors travel through them: answers 1 to 3."""

from itertools import pairwise

from claimed.claim import Claim, Finding, Verdict, under_conditions
from claimed.study import Study

# Patterns that leave alone all but what is named.
ALL_BUT_ONE = (r"re:.*layers\.(?!15\.).*",)
ALONE = {
    "q, k, v": (r"re:.*\.mlp\..*", "re:.*o_proj"),
    "attention": (r"re:.*\.mlp\..*",),
    "FFN": (r"re:.*\.self_attn\..*",),
}


def _travel(study: Study) -> Finding:
    share = study.travel("w4")
    falls = sum(later < sooner for sooner, later in pairwise(share))
    return under_conditions(
        f"Both happen. With w4 the relative squared error of the hidden states is {share[0]:.3f} "
        f"behind block 1, {share[len(share) // 2]:.3f} in the middle, {share[-2]:.3f} in front of "
        f"the last block and {share[-1]:.3f} at the end; from one block to the next it falls "
        f"{falls} times and grows {len(share) - 1 - falls} times. Norms do not remove it: they scale "
        "error and signal alike.",
        f"两种情况都有。w4 的隐藏状态相对平方误差：第 1 块后 {share[0]:.3f}，中间 {share[len(share) // 2]:.3f}，最后一块前 "
        f"{share[-2]:.3f}，末尾 {share[-1]:.3f}；相邻块之间下降 {falls} 次，上升 {len(share) - 1 - falls} 次。"
        "归一化不会消除误差：它对误差与信号同样缩放。",
    )


def _robust(study: Study) -> Finding:
    one = study.kl("w4", exclude=ALL_BUT_ONE)
    every = study.kl("w4")
    return under_conditions(
        f"Small errors are taken well: 4 bits in one block of 30 (the 16th) cost KL {one:.4f}, in "
        f"all of them {every:.3f}, which is {every / one:.0f} times as much. They add up.",
        f"小误差影响小：30 个块中只有第 16 块为 4 位时 KL 为 {one:.4f}，全部为 4 位时 {every:.3f}，是其 "
        f"{every / one:.0f} 倍。误差会累加。",
    )


def _sensitivity(study: Study) -> Finding:
    losses = {
        "q, k, v": (
            study.kl("w4", exclude=ALONE["q, k, v"]),
            study.share("q_proj", "k_proj", "v_proj"),
        ),
        "attention": (study.kl("w4", exclude=ALONE["attention"]), study.share("self_attn")),
        "FFN": (study.kl("w4", exclude=ALONE["FFN"]), study.share("mlp")),
    }
    each = {name: kl / weights for name, (kl, weights) in losses.items()}
    listed = ", ".join(
        f"{name} {kl:.3f} ({weights:.0%} of the weights)" for name, (kl, weights) in losses.items()
    )
    listed_zh = ",".join(
        f"{name} {kl:.3f}(占权重 {weights:.0%})" for name, (kl, weights) in losses.items()
    )
    alone, other = losses["attention"][0], losses["FFN"][0]
    more = each["attention"] > each["FFN"]
    verdict = Verdict.FALSE
    if more:
        verdict = Verdict.TRUE if alone > other else Verdict.CONDITIONS
    return Finding(
        verdict,
        f"KL with only these at 4 bits: {listed}. Per weight attention costs "
        f"{each['attention'] / each['FFN']:.2f} times as much as the FFN, in all "
        f"{alone / other:.2f} times.",
        f"仅这些层为 4 位时的 KL:{listed_zh}。按每个权重计，注意力的代价是 FFN 的 "
        f"{each['attention'] / each['FFN']:.2f} 倍，总量为 {alone / other:.2f} 倍。",
    )


CLAIMS = (
    Claim(
        1,
        "robust",
        "Models are robust: small changes of weights hardly matter",
        "模型冗余，对权重的微小扰动具有鲁棒性",
        _robust,
        "tersor sensitivity smollm2",
    ),
    Claim(
        2,
        "errors-fade",
        "Errors fade through layers and norms (answer 3 says: they grow)",
        "误差被多层与 LayerNorm 抵消(第 3 问又说会放大)",
        _travel,
        "tersor compare smollm2 --recipes w4,gptq -o out",
    ),
    Claim(
        3,
        "attention",
        "Attention (q, k, v) is more sensitive than the FFN",
        "注意力层(QKV)比 FFN 更敏感",
        _sensitivity,
        "tersor sensitivity smollm2",
    ),
)
