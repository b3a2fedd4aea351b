"""What torch's products and attention reach on one core: why calibration chooses its float type.

    python benchmarks/speed/products.py

Shapes of SmolLM2-135M, pieces of 2048 tokens. Prints GFLOP/s of float32 and bfloat16, medians of 9
in CPU time; attention counts the causal half of the products.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F


def rate(flops: float, work: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return flops / statistics.median(times[1:]) / 1e9


def main() -> None:
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16):
        for rows, columns in ((1536, 576), (576, 1536)):
            x, w = torch.randn(2048, columns, dtype=dtype), torch.randn(rows, columns, dtype=dtype)
            found = rate(2 * 2048 * rows * columns, partial(F.linear, x, w))
            print(f"{dtype} linear {rows} x {columns}: {found:.0f} GFLOP/s")
        q, k, v = torch.randn(3, 4, 9, 512, 64, dtype=dtype)
        flops = 2 * 4 * 9 * 512 * 512 * 64
        attend = partial(F.scaled_dot_product_attention, q, k, v, is_causal=True)
        found = rate(flops, attend)
        print(f"{dtype} attention: {found:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
