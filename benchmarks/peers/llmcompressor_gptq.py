"""llm-compressor's GPTQ, weights only, groups of 64; benchmarks/loss/methods.py runs it.

    PYTHON llmcompressor_gptq.py MODEL_DIR TOKENS.safetensors OUT BITS

Writes the quantized model as a plain bfloat16 one, and prints SECONDS.
"""

import sys
import time

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

source, tokens, out, bits = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
windows = load_file(tokens)["tokens"].tolist()
rows = [{"input_ids": window, "attention_mask": [1] * len(window)} for window in windows]
weights = QuantizationArgs(
    num_bits=int(bits), type="int", symmetric=True, strategy="group", group_size=64
)
scheme = QuantizationScheme(targets=["Linear"], weights=weights)
started = time.perf_counter()
oneshot(
    model=model,
    dataset=Dataset.from_list(rows),
    recipe=GPTQModifier(config_groups={"g": scheme}, ignore=["lm_head"]),
    max_seq_length=len(windows[0]),
    num_calibration_samples=len(windows),
)
print("SECONDS", time.perf_counter() - started)
names = {
    name for name, _ in model.named_parameters() if not name.endswith(("_scale", "_zero_point"))
}
kept = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name in names}
save_file(kept, out, metadata={"format": "pt"})
