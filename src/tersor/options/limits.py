"""The bounds of every option, under the name of the Python parameter.

Bounds are those of sense; whether a context of a million tokens fits into memory is asked when the
model is known. On the command line the same names are flags.
"""

import os

from tersor.options.bounds import Choice, Number, Whole

_ANY = 2**31 - 1
CACHES = ("float32", "float16", "bfloat16", "int16", "int8")

# Recipes.
BITS = Whole("bits", 2, 8)
GROUP_SIZE = Whole("group_size", 2, 2**20, also=0, also_means="one scale per channel")
TOKENS = Whole("tokens", 2, _ANY)
WINDOW = Whole("window", 2, 2**20)
SEED = Whole("seed", 0, 2**64 - 1)
MEMORY = Number("memory", 0, 1e6, above=True)

# Budgets.
TARGET_BITS = Number("target_bits", 1, 16)
MAX_KL = Number("max_kl", 0, 100, above=True)

# Sensitivities.
BY = Choice("by", ("linear", "block", "role"))
EXACT_SAMPLE = Whole("exact_sample", 1, _ANY)

# Evaluation.
WINDOW_CONTEXT = Whole("context", 2, 2**20)
WINDOWS = Whole("windows", 1, _ANY)
SKIP = Whole("skip", 0, 2**20)
LIMIT = Whole("limit", 1, _ANY)
FEWSHOT = Whole("num_fewshot", 0, 1000)
BATCH_SIZE = Whole("batch_size", 1, 4096)

# The engine. More threads than processors only wait for each other; a few more are good for tests.
_processors = os.cpu_count() or 1
THREADS = Whole(
    "threads", 1, max(16, _processors), why=f"processors of this machine: {_processors}"
)
CONTEXT = Whole("context", 2, _ANY)
BATCH = Whole("batch", 1, 64)
ACTIVATION_BITS = Choice("activation_bits", (8, 16))
DENSE_BITS = Choice("dense_bits", (8, 16))
CACHE = Choice("cache", ("auto", *CACHES))

# Generation.
MAX_NEW_TOKENS = Whole("max_new_tokens", 1, _ANY)
SPECULATE = Whole("speculate", 0, 7)
TEMPERATURE = Number("temperature", 0, 1000)
TOP_K = Whole("top_k", 0, _ANY)
TOP_P = Number("top_p", 0, 1, above=True)
MIN_P = Number("min_p", 0, 1)
REPETITION_PENALTY = Number("repetition_penalty", 0, 1000, above=True)

# Timing.
PROMPT_TOKENS = Whole("prompt_tokens", 1, _ANY)
NEW_TOKENS = Whole("new_tokens", 2, _ANY)
REPETITIONS = Whole("repetitions", 1, 10000)
