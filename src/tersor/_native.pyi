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
