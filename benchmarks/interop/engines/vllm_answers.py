"""What vLLM makes of a model: vllm_answers.py MODEL QUESTIONS.npz ANSWERS.npz [float32|bfloat16]

QUESTIONS: int64 ``windows (n, T)``, ``prompts (m, P)``, ``skip``, ``new``. ANSWERS: the mean
negative log-likelihood ``nll`` of what follows ``skip`` tokens of a window, and ``greedy (m,
new)``.
"""

import sys

import numpy as np


def main() -> None:
    from vllm import LLM, SamplingParams

    model, questions, out, dtype = (*sys.argv[1:], "bfloat16")[:4]
    asked = np.load(questions)
    skip, new = int(asked["skip"]), int(asked["new"])
    engine = LLM(model=model, dtype=dtype, enforce_eager=True, max_model_len=1024, max_num_seqs=4)

    def given(rows: np.ndarray) -> list[dict[str, list[int]]]:
        return [{"prompt_token_ids": row.tolist()} for row in rows]

    scored = engine.generate(
        given(asked["windows"]),
        SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0),
        use_tqdm=False,
    )
    losses = [
        -found[token].logprob
        for window, answer in zip(asked["windows"], scored, strict=True)
        for token, found in list(zip(window.tolist(), answer.prompt_logprobs, strict=True))[
            skip + 1 :
        ]
    ]
    written = engine.generate(
        given(asked["prompts"]),
        SamplingParams(temperature=0, max_tokens=new, ignore_eos=True),
        use_tqdm=False,
    )
    greedy = [list(answer.outputs[0].token_ids) for answer in written]
    np.savez(out, nll=np.mean(losses), greedy=np.array(greedy))


if __name__ == "__main__":
    main()
