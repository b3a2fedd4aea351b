"""Logits and greedy tokens of mlx-lm: mlx_logits.py DIRECTORY TOKENS.npy SKIP OUT.npy [float32]

TOKENS: int64 (windows, T). OUT: float32 (windows, T - 1 - SKIP, vocabulary), logits of what is
scored; beside it OUT.greedy.npy: 32 tokens after the first 8 of each window. ``float32``: all
parameters in that type, so that arithmetic is what the simulation's is.
"""

import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

path, tokens_file, skip, out_file, *float32 = sys.argv[1:]
windows, first = np.load(tokens_file), int(skip)
model, _ = load_model(Path(path))
if float32:
    model.set_dtype(mx.float32)


def logits(tokens: list[int]) -> np.ndarray:
    """Float32 (tokens, vocabulary)."""
    return np.array(model(mx.array([tokens])).astype(mx.float32))[0]


def greedy(tokens: list[int], new: int) -> list[int]:
    """The likeliest tokens one after the other."""
    cache, found = make_prompt_cache(model), []
    for _ in range(new):
        tokens = [int(mx.argmax(model(mx.array([tokens]), cache=cache)[0, -1]))]
        found += tokens
    return found


np.save(f"{out_file}.greedy.npy", [greedy(w[:8].tolist(), 32) for w in windows])
np.save(out_file, np.stack([logits(w.tolist())[first:-1] for w in windows]))
