"""Tokens per second of OpenVINO GenAI: openvino_rates.py DIR PROMPT NEW SEED THREADS [f32]

Needs openvino-genai. Prints one line of JSON: prefill and decode rates of one random prompt,
after one that is not counted. `f32` keeps it from computing in bfloat16 where the processor can.
"""

import json
import sys

import numpy as np
import openvino
import openvino_genai

path, (prompt, new, seed, threads) = sys.argv[1], map(int, sys.argv[2:6])
options = {"INFERENCE_NUM_THREADS": threads}
if len(sys.argv) > 6:
    options["INFERENCE_PRECISION_HINT"] = sys.argv[6]
pipeline = openvino_genai.LLMPipeline(path, "CPU", **options)
config = openvino_genai.GenerationConfig()
config.max_new_tokens = config.min_new_tokens = new
config.ignore_eos, config.do_sample = True, False
for start in (99999, seed):
    ids = np.random.default_rng(start).integers(1000, 20000, (1, prompt)).astype(np.int64)
    mask = openvino.Tensor(np.ones_like(ids))
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), mask)
    metrics = pipeline.generate(inputs, config).perf_metrics
first = metrics.get_ttft().mean / 1000
each = metrics.get_tpot().mean / 1000
print(json.dumps({"prefill": prompt / first, "decode": 1 / each}))
