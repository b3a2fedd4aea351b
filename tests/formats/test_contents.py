"""What formats of linears alone do not hold."""

from typing import Any

from tersor.formats.contents import Contents, Matrix, beyond_linears
from tersor.models.architecture import Role
from tersor.recipes import load_recipe

SCHEME = load_recipe("w4").scheme


def contents(*matrices: Matrix) -> Contents:
    nobody: Any = None
    return Contents(nobody, matrices)


def test_an_embedding_is_known_by_its_role() -> None:
    embedding = Matrix("transformer.wte", (48, 32), Role.EMBEDDING, SCHEME)
    linear = Matrix("model.embedder.proj", (48, 32), Role.LINEAR, SCHEME)
    assert beyond_linears(contents(embedding, linear), "AWQ") == [
        "transformer.wte: AWQ holds linears alone"
    ]


def test_transposed_linears_and_two_schemes() -> None:
    first = Matrix("h.0.c_fc", (48, 32), Role.LINEAR, SCHEME, transposed=True)
    second = Matrix("h.0.c_proj", (48, 32), Role.LINEAR, load_recipe("w3").scheme)
    assert beyond_linears(contents(first, second), "GPTQ") == [
        "GPTQ has one scheme for all linears; quantize with one",
        "h.0.c_fc: GPTQ holds linears alone",
    ]
