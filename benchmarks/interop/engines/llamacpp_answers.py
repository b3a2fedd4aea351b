"""What llama.cpp makes of a model: llamacpp_answers.py FILE.gguf QUESTIONS.npz ANSWERS.npz

Questions and answers are those of vllm_answers.py.
"""

import sys

import numpy as np
from llama_cpp import Llama


def main() -> None:
    path, questions, out = sys.argv[1:4]
    asked = np.load(questions)
    skip, new = int(asked["skip"]), int(asked["new"])
    model = Llama(path, n_ctx=1024, n_batch=1024, n_threads=2, logits_all=True, verbose=False)

    def logits(tokens: list[int], known: int = 0) -> np.ndarray:
        if known == 0:
            model.reset()
        model.eval(tokens[known:])
        return model.scores[: len(tokens)]

    losses = []
    for window in asked["windows"]:
        found = logits(window.tolist())[skip : len(window) - 1].astype(np.float64)
        top = found.max(-1)
        norm = top + np.log(np.exp(found - top[:, None]).sum(-1))
        losses.append(np.mean(norm - found[np.arange(len(found)), window[skip + 1 :]]))
    greedy = []
    for prompt in asked["prompts"]:
        tokens, known = prompt.tolist(), 0
        for _ in range(new):
            best = int(logits(tokens, known)[-1].argmax())
            known = len(tokens)
            tokens.append(best)
        greedy.append(tokens[len(prompt) :])
    np.savez(out, nll=np.mean(losses), greedy=np.array(greedy))


if __name__ == "__main__":
    main()
