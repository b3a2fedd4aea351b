from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Numbers: TypeAlias = tuple[
    NDArray[np.uint16] | NDArray[np.float16] | NDArray[np.float32], NDArray[np.int8] | None
]

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
def best_lines(
    *,
    values: NDArray[np.float32],
    importance: NDArray[np.float32],
    scale: NDArray[np.float32],
    minimum: NDArray[np.float32],
    rounds: int,
    lowest: float,
    highest: float,
    has_minima: bool,
    negative: bool,
    best_scale: NDArray[np.float32],
    best_minimum: NDArray[np.float32],
    loss: NDArray[np.float32],
    start: NDArray[np.int64],
) -> None: ...
def gptq_feed(
    *,
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
    *,
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
    *,
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
    codes: NDArray[np.uint8], packed: NDArray[np.uint8], group: int, bits: int, threads: int
) -> None: ...
def linear(
    *,
    level: str,
    x: NDArray[np.float32],
    packed: NDArray[np.uint8],
    scales: _Numbers,
    zeros: NDArray[np.uint8] | None,
    zero: int,
    group: int,
    bits: int,
    fixed: tuple[float, int, int] | None,
    y: NDArray[np.float32],
    threads: int,
    minima: _Numbers | None = None,
) -> None: ...
def float_linear(
    *,
    level: str,
    x: NDArray[np.float32],
    packed: NDArray[np.uint8],
    scales: _Numbers,
    zeros: NDArray[np.uint8] | None,
    zero: int,
    group: int,
    bits: int,
    levels: NDArray[np.float32] | None,
    y: NDArray[np.float32],
    threads: int,
    minima: _Numbers | None = None,
) -> None: ...
def dense_linear(
    level: str,
    x: NDArray[np.float32],
    panels: NDArray[np.uint16] | NDArray[np.float32],
    y: NDArray[np.float32],
    threads: int,
) -> None: ...

class Weights:
    @staticmethod
    def packed(
        *,
        codes: NDArray[np.uint8],
        scales: _Numbers,
        zeros: NDArray[np.uint8] | None,
        zero: int,
        rows: int,
        columns: int,
        group: int,
        bits: int,
        integer: bool,
        fixed: tuple[float, int, int] | None,
        levels: NDArray[np.float32] | None,
        bias: NDArray[np.float32] | None,
        minima: _Numbers | None = None,
    ) -> Weights: ...
    @staticmethod
    def dense(
        panels: NDArray[np.uint16] | NDArray[np.float32],
        rows: int,
        bias: NDArray[np.float32] | None,
    ) -> Weights: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def is_packed(self) -> bool: ...

class Norm:
    def __init__(
        self,
        *,
        weight: NDArray[np.float32] | None,
        bias: NDArray[np.float32] | None,
        size: int,
        epsilon: float,
        centred: bool,
        spans_all: bool,
    ) -> None: ...

class Rope:
    def __init__(
        self, cosines: NDArray[np.float32], sines: NDArray[np.float32], pairs: bool
    ) -> None: ...

class Routing:
    def __init__(
        self,
        *,
        scores: str,
        experts: int,
        chosen: int,
        groups: int,
        chosen_groups: int,
        normalized: bool,
        least: float,
        scale: float,
        correction: NDArray[np.float32] | None,
    ) -> None: ...

class Mixer:
    @staticmethod
    def attention(
        *,
        heads: int,
        key_heads: int,
        head_size: int,
        input: list[Weights],  # noqa: A002
        output: Weights,
        query_norm: Norm | None,
        key_norm: Norm | None,
        rope: Rope | None,
        window: int,
        query_scale: float,
        cap: float,
        fused: bool,
        turns_first: bool,
    ) -> Mixer: ...

class FeedForward:
    @staticmethod
    def gated(
        *,
        activation: str,
        input: list[Weights],  # noqa: A002
        output: Weights,
    ) -> FeedForward: ...
    @staticmethod
    def plain(
        *,
        activation: str,
        numbers: list[float],
        input: Weights,  # noqa: A002
        output: Weights,
    ) -> FeedForward: ...
    @staticmethod
    def experts(
        *,
        routing: Routing,
        activation: str,
        router: Weights,
        experts: list[list[Weights]],
        has_shared: bool,
        shared_gate: Weights | None,
    ) -> FeedForward: ...

class DecoderBuilder:
    def __init__(self, *, hidden: int) -> None: ...
    def set_embedding(
        self, table: NDArray[np.uint16] | NDArray[np.float32], scale: float
    ) -> None: ...
    def set_packed_embedding(self, weights: Weights, scale: float) -> None: ...
    def add_block(
        self,
        *,
        mixer: Mixer,
        feedforward: FeedForward,
        mixer_norm: Norm | None,
        mixer_output_norm: Norm | None,
        feedforward_norm: Norm | None,
        feedforward_output_norm: Norm | None,
        scale: float,
        parallel: bool,
    ) -> None: ...
    def set_head(self, *, norm: Norm, linear: Weights, scale: float, cap: float) -> None: ...

class Decoder:
    def __init__(
        self,
        *,
        builder: DecoderBuilder,
        level: str,
        slots: int,
        capacity: int,
        storage: str,
        threads: int,
        most_tokens: int,
    ) -> None: ...
    def run(
        self,
        ids: NDArray[np.int64],
        slots: NDArray[np.int64],
        positions: NDArray[np.int64],
        wanted: NDArray[np.int64],
        logits: NDArray[np.float32],
    ) -> None: ...
    @property
    def cache_bytes(self) -> int: ...

def sample(
    logits: NDArray[np.float32],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    uniform: float,
) -> int: ...
def causal_attention(
    level: str,
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    out: NDArray[np.float32],
    scale: float,
) -> None: ...
def read_seconds(buffer: NDArray[np.uint8], threads: int, ahead: int) -> float: ...
def products_per_second(level: str, threads: int) -> float: ...
