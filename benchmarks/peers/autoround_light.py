"""AutoRound's light recipe (50 iterations), groups of 64; benchmarks/loss/methods.py runs it.

    PYTHON autoround_light.py MODEL_DIR TOKENS.safetensors OUT BITS

Writes the quantized model as a plain bfloat16 one, and prints SECONDS.
"""

import sys
import time

import torch
from auto_round import AutoRound
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

source, tokens, out, bits = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
windows = load_file(tokens)["tokens"]
batches = [{"input_ids": w[None], "attention_mask": torch.ones_like(w[None])} for w in windows]
started = time.perf_counter()
rounder = AutoRound(
    model,
    AutoTokenizer.from_pretrained(source),
    bits=int(bits),
    group_size=64,
    sym=True,
    iters=50,
    lr=5e-3,
    nsamples=len(windows),
    seqlen=windows.shape[1],
    dataset=batches,
    device_map="cpu",
)
quantized, _ = rounder.quantize()
print("SECONDS", time.perf_counter() - started)
names = {name for name, _ in AutoModelForCausalLM.from_pretrained(source).named_parameters()}
state = {name.replace(".orig_layer", ""): t for name, t in quantized.state_dict().items()}
save_file(
    {n: t.contiguous() for n, t in state.items() if n in names}, out, metadata={"format": "pt"}
)
