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
