"""One block in memory, seen by the published names of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.calibration.skeleton import Decoder
from tersor.calibration.stages import Stage
from tersor.pipeline.planning import ModulePlan, Unit


@dataclass(frozen=True, eq=False)
class BlockParts:
    """A loaded block.

    ``modules``: linears that are quantized, by weight name; ``stages``: where they are read.
    ``dtypes``: in which scales are stored, by weight name. ``views``: every tensor of
    the block as it is in memory, fp32, by published name; writing to one changes the block.
    """

    unit: Unit
    call: BlockCall
    modules: Mapping[str, ModulePlan]
    stages: tuple[Stage, ...]
    dtypes: Mapping[str, torch.dtype]
    views: Mapping[str, Tensor]

    def weight(self, name: str) -> Tensor:
        """A view ``(out, in)`` of a quantized linear's weight."""
        view = self.views[name]
        return view.T if self.modules[name].transposed else view


def published_views(decoder: Decoder, call: BlockCall) -> dict[str, Tensor]:
    """The block's tensors by published name, experts apart; views, no copies."""
    views: dict[str, Tensor] = {}
    for path, tensor in call.block.state_dict().items():
        views |= decoder.published(call.index, path, tensor)
    return views
