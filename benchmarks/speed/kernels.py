"""Native linears over shapes of real models, beside torch's own products on the same threads.

    python benchmarks/speed/kernels.py [--threads 2] [--tokens 1,8,512] [--repeats 7] [-o OUT]

Prints, for each shape and number of tokens, medians of GMAC/s and of GB/s of weights read, of
tersor's kernels (int8 activations: weights of 4, 3 and 2 bits in groups, of 8 per channel; float32
activations: 4 bits, NF4, bfloat16, float32), of torch's float32 and bfloat16 linears and of torch's
int4 and int8 kernels; how many times as fast as the best of torch each is; and, in OUT, shares of
the most that the machine did in the same process: of the bandwidth, and of the rate of int8
products where activations are int8. Weights are several copies, for few tokens several times as
large as the caches together, so that they come from memory as they do in a model.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor import _native
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme, nf4
from tersor.machine.instructions import level
from tersor.ranges import MinMax
from tersor.report import to_markdown
from tersor.rounding import nearest
from tersor.runtime.linears.kernels import float_linear, linear
from tersor.runtime.linears.packing import pack_linear
from tersor.runtime.linears.panels import PackedLinear, panels
from tersor.runtime.measuring.roofline import Roofline, roofline

SHAPES = {
    "SmolLM2 gate": (1536, 576),
    "SmolLM2 down": (576, 1536),
    "Qwen2.5-1.5B q": (1536, 1536),
    "Qwen2.5-1.5B gate": (8960, 1536),
    "Qwen2.5-1.5B down": (1536, 8960),
}
# Bytes of all copies of a weight; many tokens do not wait for memory.
FEW_TOKENS, BIG, SMALL = 8, 192e6, 32e6
Step = Callable[[], object]
Product = Callable[[Tensor, PackedLinear], Tensor]


def schemes() -> dict[str, tuple[Product, TensorScheme]]:
    """Name → product and scheme of the weights."""
    four, three, two = (IntegerGrid(bits, Symmetry.SIGNED_SCALE) for bits in (4, 3, 2))
    eight = IntegerGrid(8, Symmetry.RESTRICTED)
    group = Granularity.GROUP
    return {
        "tersor w4a8 g64": (linear, TensorScheme(four, group, 64)),
        "tersor w4a8 g128": (linear, TensorScheme(four, group, 128)),
        "tersor w8a8": (linear, TensorScheme(eight, Granularity.CHANNEL)),
        "tersor w3a8 g64": (linear, TensorScheme(three, group, 64)),
        "tersor w2a8 g64": (linear, TensorScheme(two, group, 64)),
        "tersor w4a16 g64": (float_linear, TensorScheme(four, group, 64)),
        "tersor nf4a16 g64": (float_linear, TensorScheme(nf4(), group, 64)),
    }


def native(packed: PackedLinear, x: Tensor, product: Product) -> Step:
    copy = replace(packed, codes=packed.codes.copy())
    return lambda: product(x, copy)


def native_dense(weight: Tensor, x: Tensor) -> Step:
    narrow = weight.dtype == torch.bfloat16
    packed = panels((weight.view(torch.uint16) if narrow else weight).numpy(), *weight.shape)
    arrays = x.numpy(), packed, torch.empty(len(x), len(weight)).numpy()
    return lambda: _native.dense_linear(level(), *arrays, torch.get_num_threads())


def candidates(rows: int, columns: int, x: Tensor) -> dict[str, tuple[float, list[Step]]]:
    """Name → bytes of weights, and calls with different copies of them."""
    weight = torch.randn(rows, columns)
    found: dict[str, tuple[float, list[Step]]] = {}

    def add(name: str, size: float, make: Callable[[], Step]) -> None:
        whole = BIG if len(x) <= FEW_TOKENS else SMALL
        found[name] = (size, [make() for _ in range(max(1, round(whole / size)))])

    for name, (product, scheme) in schemes().items():
        packed = pack_linear(nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor)
        add(name, packed.nbytes, partial(native, packed, x, product))
    for name, dtype in (("tersor bf16", torch.bfloat16), ("tersor fp32", torch.float32)):
        add(name, weight.numel() * dtype.itemsize, partial(native_dense, weight.to(dtype), x))

    def dense(dtype: torch.dtype) -> Step:
        copy, given = weight.to(dtype), x.to(dtype)
        return lambda: torch.nn.functional.linear(given, copy)

    add("torch fp32", 4 * rows * columns, lambda: dense(torch.float32))
    add("torch bf16", 2 * rows * columns, lambda: dense(torch.bfloat16))
    codes = torch.randint(0, 16, (rows, columns), dtype=torch.int32)
    halves = x.to(torch.bfloat16)
    parameters = torch.ones(columns // 64, rows, 2, dtype=torch.bfloat16)

    def int4() -> Step:
        packed = torch._convert_weight_to_int4pack_for_cpu(codes, 1)
        return lambda: torch._weight_int4pack_mm_for_cpu(halves, packed, 64, parameters)

    add("torch int4pack g64", rows * columns / 2, int4)
    eights, scales = codes.to(torch.int8), torch.ones(rows, dtype=torch.bfloat16)

    def int8() -> Step:
        copy = eights.clone()
        return lambda: torch._weight_int8pack_mm(halves, copy, scales)

    add("torch int8pack", rows * columns, int8)
    if len(x) > 16:
        given = x.to(torch.int8)

        def int_mm() -> Step:
            copy = eights.clone()
            return lambda: torch._int_mm(given, copy.T)

        add("torch _int_mm", rows * columns, int_mm)
    return found


def seconds(calls: list[Step], repeats: int) -> float:
    """Median seconds of a call."""
    for call in calls:
        call()
    measured = []
    for _ in range(repeats):
        rounds = 0
        started = time.perf_counter()
        while time.perf_counter() - started < 0.05:
            for call in calls:
                call()
            rounds += 1
        measured.append((time.perf_counter() - started) / rounds / len(calls))
    return statistics.median(measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", default="1,8,512")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    table: list[dict[str, Any]] = []
    limits: list[Roofline] = []
    for shape, (rows, columns) in SHAPES.items():
        for count in map(int, arguments.tokens.split(",")):
            found = candidates(rows, columns, torch.randn(count, columns))
            took = {name: seconds(calls, arguments.repeats) for name, (_, calls) in found.items()}
            limits.append(roofline(int(BIG), arguments.threads))
            best = min(time for name, time in took.items() if name.startswith("torch"))
            for name, (size, _) in found.items():
                row = {
                    "shape": shape,
                    "tokens": count,
                    "kernel": name,
                    "GMAC/s": round(count * rows * columns / took[name] / 1e9, 1),
                    "GB/s": round(size / took[name] / 1e9, 1),
                    "best of torch": round(best / took[name], 2),
                }
                table.append(row)
                print(json.dumps(row), flush=True)
    bandwidth = max(limit.bandwidth for limit in limits) / 1e9
    products = max(limit.products for limit in limits) / 1e9
    print(json.dumps({"GB/s": round(bandwidth, 1), "GMAC/s": round(products, 1)}))
    for row in table:
        row["of bandwidth"] = round(row["GB/s"] / bandwidth, 2)
        row["of products"] = round(row["GMAC/s"] / products, 2) if "a8" in row["kernel"] else None
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "kernels.json").write_text(json.dumps(table, indent=2) + "\n")
        (arguments.out / "kernels.md").write_text(to_markdown(table))


if __name__ == "__main__":
    main()
