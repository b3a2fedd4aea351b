"""Tokens per second of llama.cpp: llamacpp_rates.py FILE.gguf PROMPT NEW SEED THREADS

Needs llama-cpp-python. Prints one line of JSON: prefill and decode rates of one random prompt,
after one that is not counted.
"""

import json
import os
import random
import sys
import time

from llama_cpp import Llama

path, (prompt, new, seed, threads) = sys.argv[1], map(int, sys.argv[2:6])
out = os.fdopen(os.dup(1), "w")  # llama.cpp writes to standard output too
model = Llama(
    path,
    n_ctx=prompt + new + 8,
    n_batch=prompt,
    n_threads=threads,
    n_threads_batch=threads,
    verbose=False,
)
for chance in (random.Random(-1), random.Random(seed)):
    tokens = [chance.randrange(1000, 20000) for _ in range(prompt)]
    model.reset()
    start = time.perf_counter()
    model.eval(tokens)
    middle = time.perf_counter()
    for _ in range(new):
        model.eval([chance.randrange(1000, 20000)])
    end = time.perf_counter()
out.write(json.dumps({"prefill": prompt / (middle - start), "decode": new / (end - middle)}) + "\n")
out.flush()
