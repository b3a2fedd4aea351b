"""Tokens per second of ik_llama.cpp: ik_llama_rates.py FILE.gguf PROMPT NEW SEED THREADS BENCH

BENCH is its `llama-bench`. Weights are repacked when they are loaded (`-rtr 1`), which it decodes
faster with. Its prompts are random; the seed is not used. Prints one line of JSON: prefill, and
decode after such a prompt.
"""

import json
import subprocess
import sys

path, prompt, new, _, threads, binary = sys.argv[1:7]
flags = ["-p", prompt, "-n", "0", "-gp", f"{prompt},{new}", "-t", threads, "-r", "1", "-rtr", "1"]
done = subprocess.run(
    [binary, "-m", path, *flags, "-o", "json"], check=True, stdout=subprocess.PIPE, text=True
)
prefill, decode = json.loads(done.stdout[done.stdout.index("[") :])
print(json.dumps({"prefill": prefill["avg_ts"], "decode": decode["avg_ts"]}))
