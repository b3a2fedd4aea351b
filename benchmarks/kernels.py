"""Native linears over shapes of real models, beside torch's own products on the same threads.

    python benchmarks/kernels.py [--threads 2] [--tokens 1,8,512] [--repeats 7] [-o OUT]

Prints, for each shape and number of tokens, medians of GMAC/s and of GB/s of weights read, of
tersor's kernels at 4 bits (groups of 64 and 128) and 8 bits (per channel), of torch's float32 and
bfloat16 linears and of torch's int4 and int8 kernels; and how many times as fast as the best of
torch each is. Weights are several copies, larger than the caches together, so that they come from
memory as they do in a model.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.report import to_markdown
from tersor.rounding import nearest
from tersor.runtime.kernels import PackedLinear, linear, pack_linear

SHAPES = {
    "SmolLM2 gate": (1536, 576),
    "SmolLM2 down": (576, 1536),
    "Qwen2.5-1.5B q": (1536, 1536),
    "Qwen2.5-1.5B gate": (8960, 1536),
    "Qwen2.5-1.5B down": (1536, 8960),
}
BIG = 64e6
Step = Callable[[], object]


def schemes() -> dict[str, TensorScheme]:
    four = IntegerGrid(4, Symmetry.SIGNED_SCALE)
    return {
        "tersor w4a8 g64": TensorScheme(four, Granularity.GROUP, 64),
        "tersor w4a8 g128": TensorScheme(four, Granularity.GROUP, 128),
        "tersor w8a8": TensorScheme(IntegerGrid(8, Symmetry.RESTRICTED), Granularity.CHANNEL),
    }


def native(packed: PackedLinear, x: Tensor) -> Step:
    copy = replace(packed, codes=packed.codes.clone())
    return lambda: linear(x, copy)


def candidates(rows: int, columns: int, x: Tensor) -> dict[str, tuple[float, list[Step]]]:
    """Name → bytes of weights, and calls with different copies of them."""
    weight = torch.randn(rows, columns)
    found: dict[str, tuple[float, list[Step]]] = {}

    def add(name: str, size: float, make: Callable[[], Step]) -> None:
        found[name] = (size, [make() for _ in range(max(1, round(BIG / size)))])

    for name, scheme in schemes().items():
        packed = pack_linear(nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor)
        add(name, packed.codes.numel() + packed.scales.nbytes, partial(native, packed, x))

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
    table: list[dict[str, object]] = []
    for shape, (rows, columns) in SHAPES.items():
        for count in map(int, arguments.tokens.split(",")):
            found = candidates(rows, columns, torch.randn(count, columns))
            took = {name: seconds(calls, arguments.repeats) for name, (_, calls) in found.items()}
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
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "kernels.json").write_text(json.dumps(table, indent=2) + "\n")
        (arguments.out / "kernels.md").write_text(to_markdown(table))


if __name__ == "__main__":
    main()
