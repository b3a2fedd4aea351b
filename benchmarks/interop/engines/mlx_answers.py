"""What mlx-lm makes of a model: mlx_answers.py MODEL QUESTIONS.npz ANSWERS.npz

Questions and answers are those of vllm_answers.py.
"""

import sys

import mlx.core as mx
import numpy as np
from mlx_lm import load


def main() -> None:
    path, questions, out = sys.argv[1:4]
    asked = np.load(questions)
    skip, new = int(asked["skip"]), int(asked["new"])
    model, _ = load(path)

    def logits(tokens: list[int]) -> np.ndarray:
        return np.array(model(mx.array([tokens])).astype(mx.float32))[0].astype(np.float64)

    losses = []
    for window in asked["windows"]:
        found = logits(window.tolist())[skip:-1]
        top = found.max(-1)
        norm = top + np.log(np.exp(found - top[:, None]).sum(-1))
        losses.append(np.mean(norm - found[np.arange(len(found)), window[skip + 1 :]]))
    greedy = []
    for prompt in asked["prompts"]:
        tokens = prompt.tolist()
        for _ in range(new):
            tokens.append(int(logits(tokens)[-1].argmax()))
        greedy.append(tokens[len(prompt) :])
    np.savez(out, nll=np.mean(losses), greedy=np.array(greedy))


if __name__ == "__main__":
    main()
