"""Names and formulas of GPTQ, AWQ, SmoothQuant and OPTQ: answer 4."""

from claimed.claim import Claim, Finding, judged, under_conditions, wrong
from claimed.study import Study


def _gptq_name(study: Study) -> Finding:
    nearest, found = study.kl("w4"), study.kl("gptq")
    return wrong(
        "GPTQ is 'Accurate Post-Training Quantization for Generative Pre-trained Transformers' "
        "(arXiv:2210.17323). It chooses codes; nothing in it depends on a GPU: tersor runs it on a "
        f"CPU (KL {found:.3f} instead of {nearest:.3f}, in {study.row('gptq').seconds:.0f} s).",
        "GPTQ 是“Accurate Post-Training Quantization for Generative Pre-trained Transformers”"
        f"(arXiv:2210.17323)。它决定的是编码，与 GPU 无关：tersor 在 CPU 上运行(KL 从 {nearest:.3f} 降到 "
        f"{found:.3f}，用时 {study.row('gptq').seconds:.0f} 秒)。",
    )


def _gptq_formula(study: Study) -> Finding:
    nearest, diagonal, full = (study.kl(name) for name in ("w4", "imatrix", "gptq"))
    return wrong(
        "The sum over H_ii is what an importance matrix does (preset imatrix). GPTQ minimises "
        "‖(W - Ŵ)X‖² with the whole Hessian H = 2XXᵀ: each column's error is made up for by the "
        f"columns that are not rounded yet. KL: nearest {nearest:.3f}, diagonal {diagonal:.3f}, "
        f"whole Hessian {full:.3f}.",
        "对 H_ii 求和的是 importance matrix(预设 imatrix)。GPTQ 用完整 Hessian H = 2XXᵀ 最小化 ‖(W − Ŵ)X‖²:"
        f"每一列的误差由尚未量化的列补偿。KL:最近舍入 {nearest:.3f}，仅对角线 {diagonal:.3f}，完整 Hessian {full:.3f}。",
    )


def _gptq_blocks(study: Study) -> Finding:
    fine, coarse = study.kl("gptq", group_size=32), study.kl("gptq", group_size=128)
    return wrong(
        "The 128 columns of GPTQ are a batch of updates, which changes speed and no result. Scales "
        "belong to groups of a row (1 × 64, not 128 × 128), with any method. KL of gptq in groups "
        f"of 32: {fine:.3f}, of 128: {coarse:.3f}.",
        "GPTQ 的 128 列只是成批更新，影响速度而不影响结果。scale 属于一行中的一组(1 × 64，而不是 128 × 128),"
        f"与方法无关。gptq 的 KL:每组 32 个 {fine:.3f}，每组 128 个 {coarse:.3f}。",
    )


def _awq_formula(study: Study) -> Finding:
    nearest, found = study.kl("w4"), study.kl("awq")
    return wrong(
        "AWQ (arXiv:2306.00978) multiplies input channel j of W by s_j = mean|x_j|^α and divides "
        "the activations by it; α in [0, 1] is searched by the error of the output. All weights "
        f"keep the same bits and steps. KL {found:.3f} instead of {nearest:.3f}.",
        "AWQ(arXiv:2306.00978)把 W 的第 j 个输入通道乘以 s_j = mean|x_j|^α，激活除以它；α ∈ [0, 1] 按输出误差搜索。"
        f"所有权重位数与步长相同。KL 从 {nearest:.3f} 变为 {found:.3f}。",
    )


def _awq_channels(study: Study) -> Finding:
    del study
    return wrong(
        "AWQ scales input channels (columns of W), where activations have their outliers. A scale "
        "per output channel is plain per-channel quantization and knows nothing of activations; no "
        "channel gets more bits.",
        "AWQ 缩放的是输入通道(W 的列)，激活的离群值在那里。逐输出通道的 scale 只是普通的 per-channel 量化，与激活无关；"
        "没有通道得到更多位数。",
    )


def _smoothquant(study: Study) -> Finding:
    without, found = study.kl("w8a8-static"), study.kl("smoothquant")
    better = "helps" if found < without else "does not help"
    return under_conditions(
        "γ scales input channels: X' = X/γ, W' = W·γ with γ_j = max|X_j|^α / max|W_j|^(1-α) "
        "(arXiv:2211.10438, equation 4), folded into the norm in front. It balances the two, with "
        f"α = 0.5 their maxima are equal. It {better} here: KL {found:.3f} with it (preset "
        f"smoothquant), {without:.3f} for w8a8-static.",
        "γ 缩放输入通道：X' = X/γ,W' = W·γ,γ_j = max|X_j|^α / max|W_j|^(1−α)(arXiv:2211.10438，公式 4),"
        f"并入前面的归一化层。α = 0.5 时二者最大值相等。此处 KL:smoothquant {found:.3f},w8a8-static {without:.3f}。",
    )


def _smoothquant_mixed(study: Study) -> Finding:
    del study
    return wrong(
        "SmoothQuant keeps no linear in FP16: that it does not need to is its point. Its linears, "
        "attention's and the FFN's alike, are W8A8.",
        "SmoothQuant 不为任何线性层保留 FP16，这正是其意义所在：注意力与 FFN 的线性层同为 W8A8。",
    )


def _optq(study: Study) -> Finding:
    start, found = study.kl("gptq"), study.kl("gptaq")
    return wrong(
        "OPTQ is GPTQ: the name under which it was published at ICLR 2023. It does not propagate "
        "gradients. Methods that do what the text describes exist: aiming at what the original "
        f"computes from its own inputs (gptaq, KL {found:.3f} after gptq's {start:.3f}), learned "
        "rounding (preset optq) and distillation; docs/methods.md has them.",
        "OPTQ 就是 GPTQ，是其在 ICLR 2023 发表时的名称，并不反向传播。原文描述的做法存在于其他方法：以原模型自身输入的输出为目标"
        f"(gptaq,KL 从 gptq 的 {start:.3f} 降到 {found:.3f})、学习舍入(预设 optq)和蒸馏，见 docs/methods.md。",
    )


def _better_than_nearest(study: Study) -> Finding:
    nearest = study.kl("w4")
    found = {name: study.kl(name) for name in ("imatrix", "awq", "gptq", "gptaq")}
    listed = ", ".join(f"{name} {kl:.3f}" for name, kl in found.items())
    return judged(
        max(found.values()) < nearest,
        f"KL at the same 4.25 bits: nearest {nearest:.3f}; {listed}.",
        f"同为 4.25 位的 KL:最近舍入 {nearest:.3f};{listed}。",
    )


def _bias(study: Study) -> Finding:
    plain, corrected = study.kl("w4"), study.changed("w4", correction="bias").kl_mean or 0.0
    return under_conditions(
        f"It repairs the mean of an output's error and nothing else. Here biases are added, where "
        f"the model had none: KL of w4 from {plain:.3f} to {corrected:.3f}. Error feedback (gptq, "
        f"{study.kl('gptq'):.3f}) repairs much more.",
        f"只能修正输出误差的均值。此模型原本没有 bias,故另行加入:w4 的 KL 从 {plain:.3f} 变为 {corrected:.3f}。"
        f"误差反馈(gptq,{study.kl('gptq'):.3f})的修正大得多。",
    )


CLAIMS = (
    Claim(
        1,
        "bias-correction",
        "Bias correction makes up for the error",
        "偏差补偿可弥补量化误差",
        _bias,
    ),
    Claim(
        4,
        "methods-help",
        "GPTQ, AWQ and others improve on vanilla quantization at 4 bits",
        "GPTQ、AWQ 等显著提升 INT4 的质量",
        _better_than_nearest,
        "tersor compare smollm2 --recipes w4,imatrix,awq,gptq,gptaq -o out",
    ),
    Claim(
        4,
        "gptq-name",
        "GPTQ means GPU-Aware Quantization",
        "GPTQ = GPU-Aware Quantization",
        _gptq_name,
    ),
    Claim(
        4,
        "gptq-formula",
        "GPTQ minimises Σ H_ii (W_i - s·Q_i)²",
        "GPTQ 最小化 Σ H_ii (W_i − s·Q_i)²",
        _gptq_formula,
        "tersor compare smollm2 --recipes w4,imatrix,gptq -o out",
    ),
    Claim(
        4,
        "gptq-blocks",
        "GPTQ gives each block of 128 × 128 its own scale",
        "GPTQ 按 128×128 分块，每块独立计算 scale",
        _gptq_blocks,
    ),
    Claim(
        4,
        "awq-formula",
        "AWQ: s_i = max|W_i| / (α · max|A|), finer steps for important weights",
        "AWQ:s_i = max|W_i| / (α·max|A|)，重要权重用更精细的步长",
        _awq_formula,
        "tersor compare smollm2 --recipes w4,awq -o out",
    ),
    Claim(
        4,
        "awq-channels",
        "AWQ scales output channels and gives important ones more precision",
        "AWQ 按输出通道缩放，重要通道分配更高精度",
        _awq_channels,
    ),
    Claim(
        4,
        "smoothquant",
        "SmoothQuant: W' = W·γ, A' = A/γ",
        "SmoothQuant:W' = W·γ,A' = A/γ",
        _smoothquant,
        "tersor compare smollm2 --recipes w8a8-static,smoothquant -o out",
    ),
    Claim(
        4,
        "smoothquant-mixed",
        "SmoothQuant keeps attention in FP16",
        "SmoothQuant 对注意力层保留 FP16",
        _smoothquant_mixed,
    ),
    Claim(
        4,
        "optq",
        "OPTQ is a method of its own that propagates errors back",
        "OPTQ 是一种通过反向传播调整参数的独立方法",
        _optq,
        "tersor compare smollm2 --recipes gptq,gptaq -o out",
    ),
)
