"""What a model is refused for before it is quantized."""

from pathlib import Path

import pytest

from tersor.checkpoints.gateway.readable import refuse_unreadable
from tersor.errors import SourceError

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}


def test_a_config_and_what_lies_beside_it(tmp_path: Path) -> None:
    refuse_unreadable(LLAMA, tmp_path)
    refuse_unreadable({"model_type": "x", "hidden_size": "y"}, tmp_path)  # needs no model
    with pytest.raises(SourceError, match="'hidden_size' expected int"):
        refuse_unreadable({**LLAMA, "hidden_size": "x"}, tmp_path)
    with pytest.raises(SourceError, match="not a string"):
        refuse_unreadable({**LLAMA, "model_type": ["llama"]}, tmp_path)
    (tmp_path / "generation_config.json").write_text('{"max_new_tokens": -1}')
    with pytest.raises(SourceError, match=r"generation_config\.json: max_new_tokens is -1"):
        refuse_unreadable(LLAMA, tmp_path)
