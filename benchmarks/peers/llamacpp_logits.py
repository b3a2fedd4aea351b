"""Logits of llama.cpp: llamacpp_logits.py FILE.gguf TOKENS.npy SKIP OUT.npy THREADS

TOKENS: int64 (windows, T). OUT: float32 (windows, T - 1 - SKIP, vocabulary), logits of what is
scored.
"""

import sys

import numpy as np
from llama_cpp import Llama

path, tokens_file, skip, out_file, threads = sys.argv[1:6]
windows = np.load(tokens_file)
first, length = int(skip), windows.shape[1]
model = Llama(
    path,
    n_ctx=length,
    n_batch=length,
    n_threads=int(threads),
    n_threads_batch=int(threads),
    logits_all=True,
    verbose=False,
)
shape = (len(windows), length - 1 - first, model.n_vocab())
found = np.lib.format.open_memmap(out_file, "w+", np.float32, shape)
for index, window in enumerate(windows):
    model.reset()
    model.eval(window.tolist())
    found[index] = model.scores[first : length - 1]
found.flush()
