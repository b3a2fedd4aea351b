"""The last word on pairs: fold them into the tiny model as they will be, and compare."""

from collections.abc import Iterable

from torch import nn

from tersor.models.architecture import Architecture
from tersor.models.experts import unfuse
from tersor.models.folding import fold
from tersor.models.pairs import pairs
from tersor.models.probing.trial import Trials, random_scale


def failing(model: nn.Module, tiny: Architecture, trials: Trials) -> dict[int, str]:
    """Which of the shared inputs change the logits when their pairs of all blocks are folded.

    ``tiny`` describes ``model``. Number of the entry → what is wrong with it.
    """
    everything = range(len(tiny.shared_inputs))
    if _same(model, tiny, everything, trials):
        return {}
    why = "scaling it in all blocks changes what the model computes"
    return {i: why for i in everything if not _same(model, tiny, [i], trials)}


def _same(model: nn.Module, tiny: Architecture, entries: Iterable[int], trials: Trials) -> bool:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    views = {
        part: view
        for name, tensor in state.items()
        for part, view in unfuse(tiny, name, tensor).items()
    }
    shapes = {name: tuple(view.shape) for name, view in views.items()}
    wanted = {name for i in entries for name in tiny.shared_inputs[i].consumers}
    for block in range(tiny.blocks):
        for pair in pairs(tiny, shapes, block):
            shared = tiny.shared_input_of(pair.consumers[0])
            if shared is not None and set(shared.consumers) <= wanted:
                scale = random_scale(pair.channels, seed=block)
                for name, tensor in fold(views, pair, scale).items():
                    views[name].copy_(tensor)
    return trials.same_with(state)
