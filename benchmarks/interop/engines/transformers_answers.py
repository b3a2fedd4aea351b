"""What transformers makes of a model: transformers_answers.py MODEL QUESTIONS.npz ANSWERS.npz
    [float32|bfloat16] [auto-round]

Questions and answers are those of vllm_answers.py. ``auto-round``: AutoRound's kernels read a
checkpoint of another tool.
"""

import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    path, questions, out, dtype, reader = (*sys.argv[1:], "float32", "")[:5]
    asked = np.load(questions)
    skip, new = int(asked["skip"]), int(asked["new"])
    keywords = {}
    if reader == "auto-round":
        from auto_round import AutoRoundConfig

        keywords["quantization_config"] = AutoRoundConfig(backend="auto")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), **keywords)
    model.eval()
    model.generation_config.eos_token_id = None
    losses = []
    with torch.no_grad():
        for window in torch.from_numpy(asked["windows"]):
            logits = model(window[None]).logits[0, skip:-1].float()
            losses.append(torch.nn.functional.cross_entropy(logits, window[skip + 1 :]).item())
        greedy = [
            model.generate(
                prompt[None],
                attention_mask=torch.ones_like(prompt[None]),
                do_sample=False,
                max_new_tokens=new,
                pad_token_id=0,
            )[0, len(prompt) :].tolist()
            for prompt in torch.from_numpy(asked["prompts"])
        ]
    np.savez(out, nll=np.mean(losses), greedy=np.array(greedy))


if __name__ == "__main__":
    main()
