"""How uneven activation channels are: largest channel's absmax over the median channel's.

    python benchmarks/loss/outliers.py MODEL_DIR

512 tokens of the built-in evaluation text. Explains why one static range per tensor loses so much.
"""

import argparse
import statistics
from pathlib import Path

from tersor.calibration.capture import collect
from tersor.calibration.statistics import AbsMax
from tersor.calibration.text import evaluation_file, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.opening import open_source

INPUTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    model = parser.parse_args().model
    source = open_source(model)
    blocks = source.config["num_hidden_layers"]
    names = {i: [f"model.layers.{b}.{i}.weight" for b in range(blocks)] for i in INPUTS}
    observers = {name: AbsMax() for group in names.values() for name in group}
    tokens = windows(load_tokenizer(model), evaluation_file().text, 256, 2)
    seen = {name: result.values for name, result in collect(source, observers, tokens).items()}
    for linear, group in names.items():
        ratios = [float(seen[name].max() / seen[name].median()) for name in group]
        median, largest = statistics.median(ratios), max(ratios)
        print(f"input of {linear:18s} median over blocks {median:6.1f}, largest {largest:7.1f}")


if __name__ == "__main__":
    main()
