"""Layers with a sliding window keep what it sees and a chunk: the same bits as with all of it."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from tersor.machine.instructions import levels
from tersor.runtime.engine import engine as engine_module
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.session import CHUNK
from tersor.runtime.load import load
from tiny_models import ODD, logits_of, save_tiny, tokens

CONTEXT = 2 * CHUNK + 300
TEXT = tokens(batch=1, length=CONTEXT)[0].tolist()
STORAGES = ("float32", "float16", "bfloat16", "int16", "int8")
FLOAT: dict[str, Any] = {"activation_bits": 16, "cache": "float32"}
# One window for all layers, or layers of both kinds.
WINDOWS: dict[str, tuple[int, ...]] = {
    "mistral": (7, 7),
    "phi3": (1, 1),
    "qwen2": (0, 37),
    "gemma2": (700, 0, 700),
    "gemma3_text": (37, 37, 0),
}


def saved(directory: Path, family: str = "gemma3_text") -> Path:
    window = max(WINDOWS[family])
    changes = {**ODD[family], "sliding_window": window, "max_position_embeddings": CONTEXT}
    if family == "qwen2":
        changes |= {"use_sliding_window": True, "max_window_layers": 1}
    save_tiny(family, directory, **changes)
    return directory


def whole(monkeypatch: pytest.MonkeyPatch, directory: Path, **options: Any) -> Engine:
    """An engine whose layers keep everything: it is made for the whole context at a time."""
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "CHUNK", CONTEXT)
        return Engine(directory, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each run of a decoder had."""
    from tersor.runtime.engine.session import Session

    counts: list[int] = []
    run = Session._run

    def counting(self: Session, ids: Any, *others: Any) -> None:
        counts.append(len(ids))
        run(self, ids, *others)

    monkeypatch.setattr(Session, "_run", counting)
    return counts


@pytest.mark.parametrize("family", WINDOWS)
def test_long_texts(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(saved(tmp_path, family), **FLOAT)
    assert engine.plan.windows == WINDOWS[family]
    found = logits_of(engine, TEXT)
    model = load(tmp_path, kernels=False)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        exact = model(torch.tensor([TEXT])).logits[0]
    torch.testing.assert_close(found, exact, rtol=0, atol=3e-5)
    assert torch.equal(found, logits_of(whole(monkeypatch, tmp_path, **FLOAT), TEXT))


@pytest.mark.parametrize(
    ("level", "cache"),
    [(levels()[0], cache) for cache in STORAGES]
    + [(level, cache) for level in levels()[1:] for cache in ("bfloat16", "int16")],
)
def test_the_bits_of_a_cache_of_everything(
    tmp_path: Path, level: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERSOR_ISA", level)
    options: dict[str, Any] = {"cache": cache, "threads": 2}
    reference = logits_of(whole(monkeypatch, saved(tmp_path), **options), TEXT[:900])
    engine = Engine(tmp_path, **options)
    # A layer keeps 768 positions: single tokens and few go over their end, then a prompt does.
    logits_of(engine, TEXT[:750])
    single = [logits_of(engine, TEXT[: i + 1], last=1) for i in range(750, 780)]
    few = [logits_of(engine, TEXT[: i + 5], last=5) for i in range(780, 800, 5)]
    rest = logits_of(engine, TEXT[:900], last=100)
    assert torch.equal(torch.cat([*single, *few, rest]), reference[750:])


def test_texts_that_part(
    tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever prefix is kept: the right bits, and near the end only what is new is run."""
    saved(tmp_path)
    engine, reference = Engine(tmp_path), whole(monkeypatch, tmp_path)
    random, text, furthest = Random(3), TEXT[:], len(TEXT)
    logits_of(engine, text, last=1)
    reused = 0
    for back in (1, 60, CHUNK, 200, 40, CHUNK + 30, 700, 1, 300, 1200, CONTEXT):
        start = max(len(text) - back, 0)
        end = min(start + random.randrange(1, 400), CONTEXT)
        text = text[:start] + [random.randrange(3, 100) for _ in range(start, end)]
        counted.clear()
        found = logits_of(engine, text, last=1)
        ran = sum(counted)
        assert ran in (len(text) - start, len(text))
        if start >= furthest - CHUNK:
            assert ran == len(text) - start
        furthest = len(text) if ran == len(text) else max(furthest, len(text))
        reused += ran < len(text)
        logits_of(reference, TEXT[:1])
        assert torch.equal(found, logits_of(reference, text, last=1))
    assert 3 <= reused < 10


def test_a_text_that_fits_into_what_is_kept_is_never_run_again(
    tmp_path: Path, counted: list[int]
) -> None:
    engine = Engine(saved(tmp_path))
    logits_of(engine, TEXT[: CHUNK + 36])
    counted.clear()
    logits_of(engine, TEXT[:300], last=1)
    logits_of(engine, TEXT[:20], last=1)
    assert counted == [1, 1]


def test_guessing_ahead_past_what_is_kept(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path))
    prompt = (TEXT[:30] * 30)[:760]
    runs = [
        [t.id for t in engine.generate(prompt, max_new_tokens=40, speculate=n, ignore_end=True)]
        for n in (0, 7)
    ]
    assert runs[0] == runs[1]


def test_sequences_together(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path), batch=3, threads=2)
    prompts = [TEXT[:740], TEXT[400:1150], TEXT[:9]]
    made = zip(*engine.generate_batch_tokens(prompts, 40), strict=True)
    for prompt, tokens_made in zip(prompts, made, strict=True):
        alone = engine.generate(prompt, max_new_tokens=40, ignore_end=True)
        assert [t.id for t in alone] == list(tokens_made)


def test_sequences_together_after_another_use_of_a_slot(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path))
    first = list(engine.generate_batch_tokens([TEXT[:20]], 6))
    batch = engine.generate_batch_tokens([TEXT[:20]], 6)
    found = []
    for row in batch:
        found.append(row)
        # The slot goes far beyond what it has made, with the same beginning.
        logits_of(engine, [*TEXT[:20], *(t for (t,) in found), *TEXT[:1200]], last=1)
    assert found == first


@pytest.mark.parametrize(
    ("window", "kept"), [(None, 1344), (1000, 1344), (258, 1024), (257, 768), (37, 768), (1, 512)]
)
def test_how_much_is_kept(tmp_path: Path, window: int | None, kept: int) -> None:
    changes = {**ODD["mistral"], "sliding_window": window, "max_position_embeddings": CONTEXT}
    save_tiny("mistral", tmp_path, **changes)
    engine = Engine(tmp_path, **FLOAT, batch=2)
    layers = engine.plan.layers
    mixer = layers[0].mixer
    padded = -(-mixer.head_size // 16) * 16
    floats = 2 * len(layers) * mixer.key_heads * kept * (mixer.head_size + padded)
    assert engine.cache_bytes == 4 * floats


def test_what_is_forgotten_is_refused(tmp_path: Path) -> None:
    engine = Engine(saved(tmp_path))
    session = engine._session
    logits_of(engine, TEXT)
    with pytest.raises(ValueError, match="no longer held"):
        session._run([5], [0], [CONTEXT - CHUNK - 300], [0], torch.empty(1, engine.plan.vocabulary))
