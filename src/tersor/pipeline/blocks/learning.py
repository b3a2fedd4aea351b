"""Learned rounding of one block in memory: from its parts to the problem, and back to records."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from tersor.calibration.skeleton import Decoder
from tersor.pipeline.blocks.parts import BlockParts
from tersor.recipes import Learner
from tersor.rounding import Rounded
from tersor.training import BlockProblem, LatentLinear


def learn_block(
    decoder: Decoder,
    parts: BlockParts,
    paths: Mapping[str, str],
    start: Mapping[str, Rounded],
    learner: Learner,
    streams: tuple[Tensor, Tensor, Tensor],
    seed: int,
) -> dict[str, Rounded]:
    """Improve the rounded linears of a block together.

    ``paths``: weight name → path of the parameter in the block that holds it. ``start``: by module;
    notes are kept. ``streams``: the block's input, the target of its output, and the output as it
    stands, which is replaced by the best iterate's; fp32 ``(n, T, hidden)``.

    Raises :class:`~tersor.errors.SchemeError` for a grid that is not of integers.
    """
    hidden, target, output = streams
    latents = {
        name: LatentLinear(start[module.module].tensor) for name, module in parts.modules.items()
    }

    def split(path: str, gradient: Tensor) -> dict[str, Tensor]:
        found = decoder.published(parts.call.index, path, gradient)
        return {
            name: part.T if parts.modules[name].transposed else part
            for name, part in found.items()
            if name in latents
        }

    problem = BlockProblem(
        call=parts.call,
        latents=latents,
        weights={name: parts.weight(name) for name in latents},
        paths=tuple(dict.fromkeys(paths[name] for name in latents)),
        parts=split,
        hidden=hidden,
        target=target,
    )
    learner.learn(problem, output, seed)
    learned = {}
    for name, module in parts.modules.items():
        before = start[module.module]
        learned[module.module] = replace(before, tensor=latents[name].quantized())
    return learned
