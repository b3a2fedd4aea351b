"""Logits of OpenVINO: openvino_logits.py DIR TOKENS.npy SKIP OUT.npy THREADS [f32]

Needs openvino. TOKENS: int64 (windows, T). OUT: float32 (windows, T - 1 - SKIP, vocabulary), the
logits of what is scored. `f32` keeps it from computing in bfloat16 where the processor can.
"""

import sys
from pathlib import Path

import numpy as np
import openvino

path, tokens_file, skip, out_file, threads = sys.argv[1:6]
windows = np.load(tokens_file)
first, length = int(skip), windows.shape[1]
options = {"INFERENCE_NUM_THREADS": int(threads)}
if len(sys.argv) > 6:
    options["INFERENCE_PRECISION_HINT"] = sys.argv[6]
compiled = openvino.Core().compile_model(Path(path) / "openvino_model.xml", "CPU", options)
request = compiled.create_infer_request()
found = None
for index, window in enumerate(windows):
    request.reset_state()
    given = {
        "input_ids": window[None],
        "attention_mask": np.ones((1, length), np.int64),
        "position_ids": np.arange(length, dtype=np.int64)[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    names = {name for port in compiled.inputs for name in port.names}
    request.infer({name: value for name, value in given.items() if name in names})
    logits = request.get_tensor("logits").data[0, first : length - 1]
    if found is None:
        shape = (len(windows), *logits.shape)
        found = np.lib.format.open_memmap(out_file, "w+", np.float32, shape)
    found[index] = logits
found.flush()
