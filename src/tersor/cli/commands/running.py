"""The commands that run a model: generate, chat, bench."""

from typing import Annotated

import typer

from tersor.cli.app import app
from tersor.cli.options import ActivationBits, CacheType, DenseBits, Directory, Json
from tersor.cli.printing.progress import bars
from tersor.options import limits

NewTokens = Annotated[int, typer.Option("--max-new-tokens", help="Tokens to make at most.")]
Temperature = Annotated[float, typer.Option(help="0: always the likeliest token.")]
TopK = Annotated[int, typer.Option(help="Draw among so many tokens; 0: all.")]
TopP = Annotated[float, typer.Option(help="Draw among tokens that hold this probability.")]
MinP = Annotated[float, typer.Option(help="Leave out what is less likely, relative to the top.")]
RepetitionPenalty = Annotated[
    float,
    typer.Option(help="What prompt and answer hold becomes less likely: 1.1 a little; 1: not."),
]
Seed = Annotated[int, typer.Option(help="Random seed of the draws.")]
LongestContext = Annotated[
    int | None,
    typer.Option("--context", help="Longest text in tokens.", show_default="the model's"),
]
Threads = Annotated[
    int | None, typer.Option(help=f"Threads, {limits.THREADS.span}.", show_default="one per core")
]


@app.command()
def generate(
    directory: Directory,
    prompt: Annotated[str, typer.Option(help="Text to continue.", show_default=False)],
    max_new_tokens: NewTokens = 64,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    seed: Seed = 0,
    repetition_penalty: RepetitionPenalty = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Text that ends the answer; may be repeated.", show_default=False),
    ] = None,
    speculate: Annotated[
        int, typer.Option(help=f"Tokens to guess from earlier text, {limits.SPECULATE.span}.")
    ] = 0,
    activation_bits: ActivationBits = 8,
    cache: CacheType = "auto",
    context: LongestContext = None,
    threads: Threads = None,
    dense_bits: DenseBits = None,
) -> None:
    """Continue a text."""
    import tersor

    for piece in tersor.stream(
        directory,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop or (),
        speculate=speculate,
        activation_bits=activation_bits,
        cache=cache,
        context=context,
        threads=threads,
        dense_bits=dense_bits,
    ):
        print(piece, end="", flush=True)
    print()


@app.command()
def chat(
    directory: Directory,
    system: Annotated[str, typer.Option(help="System message.", show_default=False)] = "",
    max_new_tokens: NewTokens = 512,
    temperature: Temperature = 0.7,
    top_k: TopK = 0,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among tokens that hold this probability.", show_default="0.95"),
    ] = None,
    min_p: MinP = 0.0,
    seed: Seed = 0,
    repetition_penalty: RepetitionPenalty = 1.1,
    activation_bits: ActivationBits = 8,
    cache: CacheType = "auto",
    context: LongestContext = None,
    threads: Threads = None,
    dense_bits: DenseBits = None,
) -> None:
    """Talk with a model: Ctrl-C stops an answer, Ctrl-D ends, /help lists commands."""
    import tersor
    from tersor.cli.printing.dialogue import Dialogue, introduce

    if top_p is None:
        top_p = 0.95 if temperature else 1.0
    limits.MAX_NEW_TOKENS(max_new_tokens)
    conversation = tersor.converse(
        directory,
        system=system,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        activation_bits=activation_bits,
        cache=cache,
        context=context,
        threads=threads,
        dense_bits=dense_bits,
    )
    introduce(conversation.engine, conversation.sampling, max_new_tokens)
    Dialogue(conversation, max_new_tokens).run()


@app.command()
def bench(
    directory: Directory,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of a prompt.")] = 512,
    new_tokens: Annotated[int, typer.Option(help="Tokens to make, 2 or more.")] = 64,
    repetitions: Annotated[int, typer.Option(help="Times, each with another prompt.")] = 3,
    batch: Annotated[int, typer.Option(help=f"Sequences at a time, {limits.BATCH.span}.")] = 1,
    activation_bits: ActivationBits = 8,
    cache: CacheType = "auto",
    context: LongestContext = None,
    threads: Threads = None,
    dense_bits: DenseBits = None,
    as_json: Json = False,
) -> None:
    """Time prompts and new tokens, and compare with what this machine can do at most."""
    import tersor
    from tersor.cli.printing import show

    with bars() as watch:
        found = tersor.bench(
            directory,
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            repetitions=repetitions,
            batch=batch,
            activation_bits=activation_bits,
            cache=cache,
            context=context,
            threads=threads,
            dense_bits=dense_bits,
            progress=watch("bench"),
        )
    show.bench(found, as_json)
