import pytest

from tersor.errors import OptionError
from tersor.pipeline.budgets.goal import Bits, Divergence, Size, asked_goal


def test_one_goal_or_none() -> None:
    assert asked_goal(None, None, None) is None
    assert asked_goal(4.25, None, None) == Bits(4.25)
    assert asked_goal(None, "90MB", None) == Size(90_000_000)
    assert asked_goal(None, 1234, None) == Size(1234)
    assert asked_goal(None, None, 0.05) == Divergence(0.05)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((4.25, "90MB", None), "target_bits and target_size are two goals"),
        ((None, "90MB", 0.1), "target_size and max_kl are two goals"),
        ((0.5, None, None), "target_bits must be"),
        ((None, "90 MiB", None), "target_size must be a size such as 90MB"),
        ((None, True, None), "target_size must be a size"),
        ((None, 0, None), "target_size must be a size"),
        ((None, None, 0), "max_kl must be"),
    ],
)
def test_what_is_no_goal(given: tuple[object, ...], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        asked_goal(*given)  # type: ignore[arg-type]
