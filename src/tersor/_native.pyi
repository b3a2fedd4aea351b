import numpy as np
from numpy.typing import NDArray

def pack(codes: NDArray[np.uint8], words: NDArray[np.uint32], bits: int) -> None: ...
def unpack(words: NDArray[np.uint32], codes: NDArray[np.uint8], bits: int) -> None: ...
def error_sums(
    original: NDArray[np.float32],
    decoded: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    grid_low: NDArray[np.float32],
    grid_high: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None: ...
def range_search(
    values: NDArray[np.float32],
    importance: NDArray[np.float32],
    scale: NDArray[np.float32],
    lowest: NDArray[np.float32],
    top: int,
    norm: float,
    best: NDArray[np.int64],
) -> None: ...
def gptq_feed(
    original: NDArray[np.float32],
    targets: NDArray[np.float32],
    errors: NDArray[np.float32],
    codes: NDArray[np.uint8],
    feedback: NDArray[np.float32],
    first: int,
    last: int,
    corrected: NDArray[np.float32],
) -> None: ...
def gptq_integers(
    original: NDArray[np.float32],
    targets: NDArray[np.float32],
    errors: NDArray[np.float32],
    codes: NDArray[np.uint8],
    feedback: NDArray[np.float32],
    first: int,
    last: int,
    block: int,
    scale: NDArray[np.float32],
    lowest: NDArray[np.float32],
    top: int,
    first_code: int,
) -> None: ...
def gptq_levels(
    original: NDArray[np.float32],
    targets: NDArray[np.float32],
    errors: NDArray[np.float32],
    codes: NDArray[np.uint8],
    feedback: NDArray[np.float32],
    first: int,
    last: int,
    block: int,
    scale: NDArray[np.float32],
    levels: NDArray[np.float32],
    boundaries: NDArray[np.float32],
    level_codes: NDArray[np.uint8],
) -> None: ...
def gptq_factor(
    hessian: NDArray[np.float32],
    order: NDArray[np.int64],
    ridge: NDArray[np.float64],
    feedback: NDArray[np.float32],
) -> int: ...
def add_second_moment(
    x: NDArray[np.float32] | NDArray[np.uint16],
    total: NDArray[np.float32],
    part: int,
    parts: int,
) -> None: ...
def add_cross_moment(
    left: NDArray[np.float32] | NDArray[np.uint16],
    right: NDArray[np.float32] | NDArray[np.uint16],
    total: NDArray[np.float32],
    part: int,
    parts: int,
) -> None: ...
def divergence(
    student: NDArray[np.float32] | NDArray[np.uint16],
    teacher: NDArray[np.float32] | NDArray[np.uint16],
    totals: NDArray[np.float64],
) -> None: ...
def best_level() -> str: ...
def has_level(name: str) -> bool: ...
def packed_bytes(rows: int, columns: int, group: int, bits: int) -> int: ...
def pack_panels(
    codes: NDArray[np.uint8], packed: NDArray[np.uint8], group: int, bits: int
) -> None: ...
def linear(
    level: str,
    x: NDArray[np.float32],
    packed: NDArray[np.uint8],
    scales: NDArray[np.uint16] | NDArray[np.float32],
    zeros: NDArray[np.uint8] | None,
    zero: int,
    group: int,
    bits: int,
    y: NDArray[np.float32],
    threads: int,
) -> None: ...
