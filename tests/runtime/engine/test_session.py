"""What a slot holds after a run that failed, whenever it did."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.session import CHUNK
from tiny_models import ODD, logits_of, save_tiny, tokens

TEXT = tokens(batch=1, length=2 * CHUNK + 50)[0].tolist()


class Failing:
    """A decoder whose run of a certain number fails, before or after it has written."""

    def __init__(self, decoder: Any, number: int, *, writes: bool) -> None:
        self._decoder, self._left, self._writes = decoder, number, writes
        self.tokens = 0

    def run(self, ids: Any, *others: Any) -> None:
        self._left -= 1
        if self._left != 0 or self._writes:
            self._decoder.run(ids, *others)
        if self._left == 0:
            raise MemoryError
        self.tokens += len(ids)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    changes = {**ODD["mistral"], "sliding_window": 37, "max_position_embeddings": len(TEXT) + 20}
    save_tiny("mistral", tmp_path, **changes)
    return tmp_path


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_prompt_goes_on_where_it_failed(saved: Path, number: int, writes: bool) -> None:
    expected = logits_of(Engine(saved), TEXT, last=4)
    engine = Engine(saved)
    failing: Any = Failing(engine._session._decoder, number, writes=writes)
    engine._session._decoder = failing
    with pytest.raises(MemoryError):
        logits_of(engine, TEXT, last=4)
    assert torch.equal(logits_of(engine, TEXT, last=4), expected)
    assert failing.tokens == len(TEXT)
    assert torch.equal(logits_of(engine, TEXT, last=4), expected)
    assert failing.tokens == len(TEXT) + 4


@pytest.mark.parametrize("writes", [False, True])
def test_a_step_of_several_sequences_can_be_made_again(saved: Path, writes: bool) -> None:
    prompts = [TEXT[:600], TEXT[100:760]]
    expected = list(Engine(saved, batch=2).generate_batch_tokens(prompts, 5))
    engine = Engine(saved, batch=2)
    failing: Any = Failing(engine._session._decoder, 6, writes=writes)
    engine._session._decoder = failing
    found = []
    with pytest.raises(MemoryError):
        found.extend(engine.generate_batch_tokens(prompts, 5))
    texts = [[*prompt] for prompt in prompts]
    assert list(engine.generate_batch_tokens(texts, 5)) == expected
