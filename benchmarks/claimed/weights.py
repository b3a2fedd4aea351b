"""How weights are distributed, and what that does to the step: answers 1 to 3."""

import torch
from claimed.claim import Claim, Finding, judged, under_conditions
from claimed.study import Study, gaussian

from tersor.grids import (
    Granularity,
    IntegerGrid,
    Symmetry,
    TensorScheme,
    error_parts,
)
from tersor.ranges import MinMax
from tersor.rounding import nearest


def _scheme(bits: int, granularity: Granularity, size: int | None = None) -> TensorScheme:
    return TensorScheme(IntegerGrid(bits, Symmetry.RESTRICTED), granularity, size)


def _kurtosis(values: torch.Tensor) -> float:
    centred = values.double() - values.double().mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def _shape(study: Study) -> Finding:
    tails, inside, most = [], [], []
    for _, weight in study.matrices():
        deviation = weight.std()
        tails.append(_kurtosis(weight))
        inside.append(float((weight.abs() < deviation).double().mean()))
        most.append(float(weight.abs().amax() / deviation))
    found = torch.tensor([tails, inside, most]).median(dim=1).values
    normal = float((gaussian().abs() < 1).double().mean())
    return judged(
        float(found[0]) > 3,
        f"Medians over {len(tails)} matrices: kurtosis {found[0]:.2f} (normal: 3), "
        f"{found[1]:.1%} of the weights within one standard deviation (normal: {normal:.1%}), the "
        f"largest at {found[2]:.0f} standard deviations. Largest kurtosis {max(tails):.0f}.",
        f"{len(tails)} 个矩阵的中位数：峰度 {found[0]:.2f}(正态分布为 3),{found[1]:.1%} 的权重在一个标准差之内"
        f"(正态分布为 {normal:.1%})，最大值为 {found[2]:.0f} 个标准差。最大峰度 {max(tails):.0f}。",
    )


def _step(study: Study) -> Finding:
    wider, lost = [], []
    for _, weight in study.matrices():
        sizes = weight.abs().flatten()
        wider.append(float(sizes.amax() / sizes.kthvalue(int(0.999 * len(sizes))).values))
        one = _error(weight, _scheme(8, Granularity.TENSOR))
        each = _error(weight, _scheme(8, Granularity.CHANNEL))
        lost.append(one / each)
    found = torch.tensor([wider, lost]).median(dim=1).values
    return judged(
        float(found[0]) > 1.1,
        f"The one weight in a thousand that is largest makes the step of a matrix {found[0]:.1f} "
        f"times as wide (median). With one step for the whole matrix the mean squared error is "
        f"{found[1]:.1f} times that with one for each row, where an outlier spoils only its own row.",
        f"矩阵中最大的千分之一权重使步长变为 {found[0]:.1f} 倍(中位数)。整个矩阵共用一个步长时，均方误差是每行一个步长时的 "
        f"{found[1]:.1f} 倍。",
    )


def _error(weight: torch.Tensor, scheme: TensorScheme) -> float:
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
    return error_parts(weight, rounded.tensor, rounded.bounds).mse


def _zero_point_part(study: Study) -> Finding:
    rounding, zero = 0.0, 0.0
    scheme = TensorScheme(IntegerGrid(8, Symmetry.NONE), Granularity.CHANNEL)
    for _, weight in study.matrices():
        found = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16)
        parts = error_parts(weight, found.tensor, found.bounds)
        rounding += parts.rounding * weight.numel()
        zero += parts.zero_point * weight.numel()
    share = zero / (zero + rounding)
    return under_conditions(
        f"Rounding makes nearly all of the error. The zero point's part (the ends that a whole "
        f"number moves) is {share:.2%} of the squared error at 8 bits per channel.",
        f"误差几乎全部来自舍入。8 位逐通道时，零点部分(取整移动的两端)只占平方误差的 {share:.2%}。",
    )


def _information(study: Study) -> Finding:
    _, weight = next(iter(study.matrices()))
    found = nearest(weight, _scheme(8, Granularity.CHANNEL), MinMax(), scale_dtype=torch.float32)
    before = [len(row.unique()) for row in weight]
    after = [len(row.unique()) for row in found.tensor.codes]
    ratio = sum(before) / sum(after)
    return judged(
        ratio > 1,
        f"In the first matrix a row of {weight.shape[1]} weights has {sum(before) / len(before):.0f} "
        f"different values before and {sum(after) / len(after):.0f} codes after: {ratio:.1f} values "
        "share one code, and nothing tells them apart afterwards.",
        f"第一个矩阵每行 {weight.shape[1]} 个权重，量化前平均有 {sum(before) / len(before):.0f} 种不同的值，量化后 "
        f"{sum(after) / len(after):.0f} 种编码：平均 {ratio:.1f} 个值共用一个编码，之后无法区分。",
    )


def _even_steps(study: Study) -> Finding:
    even, normal, log = (study.kl(name) for name in ("w4", "nf4", "log2"))
    return under_conditions(
        f"A grid that is finer near 0 helps if it fits a bell: KL {normal:.3f} with nf4, "
        f"{even:.3f} with even steps (both 4 bits, groups of 64). The logarithmic grid that the "
        f"text names is too coarse for large weights: KL {log:.3f}.",
        f"在 0 附近更密的网格若符合钟形分布就有帮助：4 位、每组 64 个权重时，nf4 的 KL 为 {normal:.3f}，均匀步长为 "
        f"{even:.3f}。原文所说的 log 网格对大权重过粗：KL {log:.3f}。",
    )


def _clipping(study: Study) -> Finding:
    whole, searched = study.kl("w4"), study.kl("w4-mse")
    return judged(
        searched < whole,
        f"Ranges that are searched cut off extremes and make the steps finer: KL {searched:.3f} "
        f"(w4-mse) instead of {whole:.3f} (w4). What is cut off is lost, which is why the search "
        "weighs both.",
        f"搜索得到的范围会截断极值、缩小步长：KL {searched:.3f}(w4-mse)，不截断为 {whole:.3f}(w4)。"
        "被截断的部分确实丢失，所以搜索要权衡二者。",
    )


CLAIMS = (
    Claim(
        1,
        "bell",
        "Weights are bell-shaped with heavy tails, most of them near 0",
        "权重呈尖峰厚尾分布，大部分接近 0",
        _shape,
        "tersor inspect smollm2",
    ),
    Claim(
        2,
        "outliers",
        "Outliers widen the step",
        "离群值使步长变大",
        _step,
        "tersor inspect smollm2",
    ),
    Claim(
        3,
        "many-to-one",
        "Many values share a code, and cannot be told apart again",
        "多个值压缩到同一个编码，不可逆",
        _information,
    ),
    Claim(
        3,
        "zero-point-error",
        "Rounding the zero point adds an error of its own",
        "零点取整引入额外偏差",
        _zero_point_part,
        "tersor inspect smollm2",
    ),
    Claim(
        3,
        "even-steps",
        "Uneven steps (log) fit the weights better",
        "非线性量化(如 log)更适合权重分布",
        _even_steps,
        "tersor compare smollm2 --recipes w4,nf4,log2 -o out",
    ),
    Claim(
        2,
        "clipping",
        "Cutting off extremes keeps the precision of the rest",
        "截断极值可保留大部分权重的精度",
        _clipping,
        "tersor compare smollm2 --recipes w4,w4-mse -o out",
    ),
)
