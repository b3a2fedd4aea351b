"""How fast the same model runs with codes of 8 and 4 bits: answers 1 and 4."""

from claimed.claim import Claim, Finding, Verdict, judged
from claimed.study import Study


def _times(study: Study, recipe: str) -> tuple[float, float]:
    before = study.rates(study.model, activation_bits=16, dense_bits=16)
    after = study.rates(study.artifact(recipe))
    return after[0] / before[0], after[1] / before[1]


def _verdict(prefill: float, decode: float, low: float, high: float) -> Verdict:
    inside = [low <= one <= high for one in (prefill, decode)]
    if all(inside):
        return Verdict.TRUE
    return Verdict.CONDITIONS if min(prefill, decode) >= low or any(inside) else Verdict.FALSE


def _int8(study: Study) -> Finding:
    prefill, decode = _times(study, "w8a8")
    return Finding(
        _verdict(prefill, decode, 2, 4),
        f"On this processor w8a8 reads prompts {prefill:.1f} times and makes tokens {decode:.1f} "
        "times as fast as the same engine does with the bfloat16 original. Prompts depend on the "
        "integer instructions, tokens on the bytes that are read.",
        f"在本处理器上，w8a8 相对同一引擎的 bfloat16 原模型：读入提示快 {prefill:.1f} 倍，生成快 {decode:.1f} 倍。"
        "前者取决于整数指令，后者取决于读取的字节数。",
    )


def _int4(study: Study) -> Finding:
    prefill, decode = _times(study, "w4")
    return Finding(
        _verdict(prefill, decode, 2, 3),
        f"w4 reads prompts {prefill:.1f} times and makes tokens {decode:.1f} times as fast as the "
        "bfloat16 original. 'Close to FP16' is too modest: reading a quarter of the bytes makes "
        "tokens several times as fast.",
        f"w4 相对 bfloat16 原模型：读入提示快 {prefill:.1f} 倍，生成快 {decode:.1f} 倍。“接近 FP16”说得太少："
        "只读四分之一的字节，生成快数倍。",
    )


def _float_activations(study: Study) -> Finding:
    four = study.artifact("w4")
    rounded, kept = study.rates(four), study.rates(four, activation_bits=16)
    loss = study.engine_kl("w4")
    plain = study.kl("w4")
    return judged(
        loss >= plain - 0.02,
        f"Where activations stay floats a prompt takes {rounded[0] / kept[0]:.1f} times as long. "
        f"Rounding them to 8 bits in the engine moves the KL of w4 from {plain:.3f} to {loss:.3f}; "
        "sums, norms, softmax and the residual stream stay float32.",
        f"激活保持浮点时，读入提示的时间是 {rounded[0] / kept[0]:.1f} 倍。引擎把激活舍入到 8 位后，w4 的 KL 从 "
        f"{plain:.3f} 变为 {loss:.3f}；求和、归一化、softmax 和残差始终为 float32。",
    )


CLAIMS = (
    Claim(
        1,
        "int8-speed",
        "INT8 is 2 to 4 times as fast as FP16",
        "INT8 通常比 FP16 快 2–4 倍",
        _int8,
        "tersor bench out",
    ),
    Claim(
        1,
        "mixed-precision",
        "Critical paths stay in FP16 or FP32",
        "关键路径保留 FP16/FP32 计算",
        _float_activations,
        "tersor bench out --activation-bits 16",
    ),
    Claim(
        4,
        "int4-speed",
        "INT4 makes inference 2 to 3 times as fast",
        "INT4 可使推理速度提升 2–3 倍，接近 FP16 水平",
        _int4,
        "tersor bench out",
    ),
)
