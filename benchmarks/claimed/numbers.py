"""Formulas and examples of answers 1 to 3: arithmetic that needs no model."""

import torch
from claimed.claim import Claim, Finding, judged, under_conditions, wrong
from claimed.study import Study

import tersor


def _mapping(study: Study) -> Finding:
    del study
    x = torch.linspace(-1.5, 2.0, 10_001, dtype=torch.float64)
    text = torch.round((x + 1.5) / 3.5 * 255) - 128
    found = tersor.explain([float(v) for v in x], asymmetric=True)
    codes = torch.tensor([step.code for step in found.steps], dtype=torch.float64)
    off, most = (codes != text).double().mean(), (codes - text).abs().max()
    zero = torch.round(torch.tensor(1.5 / 3.5 * 255, dtype=torch.float64)) - 128
    back = float((zero + 128) / 255 * 3.5 - 1.5)
    return under_conditions(
        f"It is the affine grid with signed codes, but it has no zero point: 0 comes back as "
        f"{back:.4f}. On 10,001 numbers from -1.5 to 2 its codes differ from those with an integer "
        f"zero point in {off:.1%} of the cases, by at most {most:.0f}.",
        f"这是有符号的仿射网格，但没有整数零点：0 还原后是 {back:.4f}。在 -1.5 到 2 的 10001 个数上，"
        f"与带整数零点的编码相比有 {off:.1%} 不同，最多差 {most:.0f}。",
    )


def _zero_point(study: Study) -> Finding:
    del study
    theirs = tersor.explain("-1.5,0,2.0", asymmetric=True, scale=0.014, zero_point=108)
    ours = tersor.explain("-1.5,0,2.0", asymmetric=True)
    last = theirs.steps[-1]
    return wrong(
        f"z = round(-W_min/s) belongs to unsigned codes 0…255. Clipped to -128…127, as the text "
        f"writes, z = 108 turns 2.0 into {last.restored:.3f}. For signed codes z = "
        f"round(-128 - W_min/s), here {ours.zero_point}, and 2.0 comes back as "
        f"{ours.steps[-1].restored:.3f}.",
        f"z = round(-W_min/s) 属于无符号编码 0…255。按原文裁剪到 -128…127 时，z = 108 会把 2.0 变成 "
        f"{last.restored:.3f}。有符号编码应为 z = round(-128 - W_min/s)，此处为 {ours.zero_point},"
        f"2.0 还原为 {ours.steps[-1].restored:.3f}。",
    )


def _zero_is_exact(study: Study) -> Finding:
    del study
    found = tersor.explain("-1.5,0,0.007,0.014,2.0", asymmetric=True)
    zero = found.steps[1]
    return under_conditions(
        f"0 is exact because z is an integer; but it is the code z ({zero.code} here) that stands "
        f"for it, not Q = 0. Error of 0: {zero.error:g}.",
        f"因为 z 是整数，0 没有误差；但代表 0 的编码是 z(此处 {zero.code})，而不是 Q = 0。0 的误差："
        f"{zero.error:g}。",
    )


def _symmetric(study: Study) -> Finding:
    del study
    found = tersor.explain("-1.5,0,2.0")
    return judged(
        abs(found.scale - 2 / 127) < 1e-8,
        f"s = 2/127 = {found.scale:.6f}; codes {found.lowest} to {found.highest}, so that -128 is "
        "not used.",
        f"s = 2/127 = {found.scale:.6f}；编码为 {found.lowest} 到 {found.highest},-128 不使用。",
    )


def _example(study: Study) -> Finding:
    del study
    given = tersor.explain("0,0.014,0.007", asymmetric=True, scale=0.014, zero_point=-20)
    exact = tersor.explain("-1.5,0,0.014,0.007,2.0", asymmetric=True)
    return under_conditions(
        f"With s = 0.014 it is right: 0.007 lies exactly between two codes and goes to the even "
        f"one, so it comes back as {given.steps[2].restored:g}. But the range [-1.5, 2.0] gives s = "
        f"{exact.scale:.6f}, and with that 0.007 comes back as {exact.steps[3].restored:.6f} "
        f"(error {abs(exact.steps[3].error):.6f}).",
        f"取 s = 0.014 时正确：0.007 恰在两个编码正中，取偶数，还原为 {given.steps[2].restored:g}。但范围 "
        f"[-1.5, 2.0] 给出 s = {exact.scale:.6f}，此时 0.007 还原为 {exact.steps[3].restored:.6f}"
        f"(误差 {abs(exact.steps[3].error):.6f})。",
    )


def _neighbours(study: Study) -> Finding:
    del study
    found = tersor.explain("0.1234,0.1235,0.1236,0.127", scale=0.01)
    codes = [step.code for step in found.steps]
    return judged(
        codes == [12, 12, 12, 13],
        f"Codes {', '.join(map(str, codes))}; 0.127 comes back as {found.steps[3].restored:.2f}, "
        f"error {abs(found.steps[3].error):.3f}.",
        f"编码为 {'、'.join(map(str, codes))};0.127 还原为 {found.steps[3].restored:.2f}，误差 "
        f"{abs(found.steps[3].error):.3f}。",
    )


def _small_values(study: Study) -> Finding:
    del study
    found = tersor.explain("0.001,0.002", scale=0.002)
    first, second = found.steps
    return wrong(
        f"0.001 is half a step, and halves go to the even code: 0.001 becomes {first.code} (error "
        f"{abs(first.error):g}), 0.002 becomes {second.code} (error {abs(second.error):g}). Both "
        "would be 1 only if halves were rounded away from zero.",
        f"0.001 是半步，按“四舍六入五成双”取偶数：0.001 编码为 {first.code}(误差 {abs(first.error):g}),"
        f"0.002 编码为 {second.code}(误差 {abs(second.error):g})。只有“五入”时两者才都是 1。",
    )


def _outliers_in_the_example(study: Study) -> Finding:
    del study
    values = [-10.0, *torch.linspace(-0.5, 0.5, 1001).tolist(), 10.0]
    found = tersor.explain(values, asymmetric=True)
    middle = {step.code for step in found.steps[1:-1]}
    return judged(
        len(middle) == 13,
        f"s = {found.scale:.4f}; [-0.5, 0.5] has {len(middle)} codes.",
        f"s = {found.scale:.4f};[-0.5, 0.5] 只有 {len(middle)} 个编码。",
    )


def _fp16(study: Study) -> Finding:
    del study
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    values = patterns.view(torch.float16).float()
    finite = values[values.isfinite()]
    return under_conditions(
        f"65,536 bit patterns, {len(finite):,} of them finite numbers, {len(finite.unique()):,} "
        f"different ones, the largest {finite.max():.0f}. INT8 has 256 codes, of which symmetric "
        "grids use 255.",
        f"65536 个位模式，其中有限数 {len(finite)} 个，不同的值 {len(finite.unique())} 个，最大 "
        f"{finite.max():.0f}。INT8 有 256 个编码，对称网格用 255 个。",
    )


def _zero_misaligned(study: Study) -> Finding:
    del study
    found = tersor.explain("-1.5,0,2.0", asymmetric=True)
    low, high = found.reach
    return wrong(
        f"An integer zero point keeps 0 exact (error {found.steps[1].error:g}). What its rounding "
        f"moves are the ends: the grid reaches from {low:.4f} to {high:.4f} instead of -1.5 to 2.",
        f"整数零点使 0 没有误差(误差 {found.steps[1].error:g})。零点取整移动的是范围两端：网格覆盖 "
        f"{low:.4f} 到 {high:.4f}，而不是 -1.5 到 2。",
    )


_RANGE = "tersor explain --values=-1.5,0,0.007,0.014,2.0 --asymmetric"
CLAIMS = (
    Claim(
        1,
        "mapping",
        "int8 = round((x - min)/(max - min) · 255) - 128",
        "int8 = round((x − min)/(max − min) × 255) − 128",
        _mapping,
        _RANGE,
    ),
    Claim(
        1, "fp16", "FP16 has 65,536 values, INT8 256", "FP16 有 65536 种取值，INT8 有 256 种", _fp16
    ),
    Claim(
        2,
        "zero-point",
        "z = round(-W_min/s) with codes clipped to -128…127",
        "z = round(−W_min/s)，并裁剪到 −128…127",
        _zero_point,
        "tersor explain --values=-1.5,0,2.0 --asymmetric --scale 0.014 --zero-point 108",
    ),
    Claim(
        2,
        "zero",
        "The zero point makes Q = 0 stand for 0",
        "零点保证 Q=0 对应浮点值 0",
        _zero_is_exact,
        _RANGE,
    ),
    Claim(
        2,
        "symmetric",
        "Symmetric: s = max(|W_min|, |W_max|)/127, z = 0",
        "对称量化：s = max(|W_min|, |W_max|)/127,z = 0",
        _symmetric,
        "tersor explain --values=-1.5,0,2.0 --symmetric",
    ),
    Claim(
        2,
        "example",
        "Range [-1.5, 2.0], s = 0.014: 0.007 becomes 0.0",
        "范围 [−1.5, 2.0]、s = 0.014:0.007 还原为 0.0",
        _example,
        _RANGE,
    ),
    Claim(
        3,
        "neighbours",
        "At s = 0.01, 0.1234 to 0.1236 become 12, and 0.127 comes back as 0.13",
        "s = 0.01 时 0.1234–0.1236 都变成 12,0.127 还原为 0.13",
        _neighbours,
        "tersor explain --values=0.1234,0.1235,0.1236,0.127 --scale 0.01",
    ),
    Claim(
        3,
        "small-values",
        "At s = 0.002, 0.001 and 0.002 both become 1",
        "s = 0.002 时 0.001 和 0.002 都变成 1",
        _small_values,
        "tersor explain --values=0.001,0.002 --scale 0.002",
    ),
    Claim(
        3,
        "thirteen",
        "With extremes of ±10 only about 13 codes are left for [-0.5, 0.5]",
        "极值为 ±10 时 [−0.5, 0.5] 只剩约 13 个编码",
        _outliers_in_the_example,
        "tersor explain --values=-10,-0.5,0,0.5,10 --asymmetric",
    ),
    Claim(
        3,
        "misaligned-zero",
        "Rounding the zero point keeps 0 from being aligned",
        "零点取整使浮点 0 无法精确对齐",
        _zero_misaligned,
        _RANGE,
    ),
)
