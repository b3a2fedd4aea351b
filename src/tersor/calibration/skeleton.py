"""A decoder that is an empty frame, filled from a source one block at a time.

transformers builds the modules on the meta device, so a model of any size costs nothing until a
block is loaded. Everything here that depends on the version of transformers stays here.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.architecture import Architecture
from tersor.models.experts import fuse

Observe = Callable[[int, nn.Module], AbstractContextManager[None]]


class Decoder:
    """The blocks of a checkpoint and what surrounds them, in fp32.

    ``module`` is the part of the transformers model that turns tokens into the final norm's output;
    ``blocks`` are its decoder blocks, on the meta device except while one of them runs.
    """

    def __init__(self, source: Source, architecture: Architecture) -> None:
        """Loads embeddings and final norm.

        Raises :class:`SourceError` for an architecture that transformers does not know or builds
        differently, and for tensors that are missing or have another shape.
        """
        self._source, self._architecture = source, architecture
        model = _build(source)
        name, self.blocks = _find_blocks(model, source, architecture)
        parent, _, self._container = name.rpartition(".")
        self.module = model.get_submodule(parent)
        self.module.requires_grad_(False).eval()
        _fill_computed_buffers(self.module, source)
        self._load_surroundings()

    def run(
        self,
        tokens: Tensor,
        observe: Observe,
        *,
        rows: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Final norm's output for ``tokens (n, T)``: fp32 ``(n, T, hidden)``.

        The model's own forward calls the blocks, so masks, positions and whatever else an
        architecture passes along are its own. Each block is loaded when its turn comes, sees
        ``rows`` windows at a time inside ``observe(index, block)``, and is emptied.
        """
        for index, block in enumerate(self.blocks):
            forward = block.forward
            block.forward = partial(self._run_block, index, forward, observe, rows, progress)
        try:
            with torch.no_grad():
                output = self.module(input_ids=tokens, use_cache=False)
        finally:
            for block in self.blocks:
                del block.forward
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _run_block(
        self,
        index: int,
        forward: Callable[..., Any],
        observe: Observe,
        rows: int,
        progress: Callable[[int, int], None] | None,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        block = self.blocks[index]
        self._load_block(index)
        try:
            with observe(index, block):
                return _in_pieces(forward, rows, self._source, args, kwargs)
        finally:
            block.to("meta")
            if progress is not None:
                progress(index + 1, len(self.blocks))

    def _load_block(self, index: int) -> None:
        names = [n for n in self._source.tensors if self._architecture.block_of(n) == index]
        prefix = f"{self._architecture.container}.{index}."
        stored = fuse(self._architecture, self._source.read(names))
        self._load(self.blocks[index], stored, prefix)

    def _load_surroundings(self) -> None:
        parent = self._architecture.container.rpartition(".")[0]
        prefix = f"{parent}." if parent else ""
        wanted = {
            name: f"{prefix}{name}"
            for name in self.module.state_dict()
            if not name.startswith(f"{self._container}.")
        }
        present = [full for full in wanted.values() if full in self._source.tensors]
        self._load(self.module, self._source.read(present), prefix, below=self._container)

    def _load(
        self, module: nn.Module, stored: dict[str, Tensor], prefix: str, below: str | None = None
    ) -> None:
        """Put ``stored`` into ``module``, as fp32; nothing but what is under ``below`` may lack."""
        # Popped one by one: what was read is let go as soon as it is converted.
        values = {name.removeprefix(prefix): _as_fp32(stored.pop(name)) for name in list(stored)}
        try:
            missing = module.load_state_dict(values, strict=False, assign=True).missing_keys
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise SourceError(f"{self._source.path}: {prefix}*: {first}") from error
        lacking = [name for name in missing if below is None or not name.startswith(f"{below}.")]
        if lacking:
            raise SourceError(
                f"{self._source.path}: no tensor {prefix}{lacking[0]}, which "
                f"{type(module).__name__} needs; the checkpoint is incomplete"
            )


def _build(source: Source) -> nn.Module:
    """transformers' model for the config, on the meta device."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = str(source.config.get("model_type", ""))
    if model_type not in CONFIG_MAPPING:
        raise SourceError(
            f"{source.path}: transformers does not know model_type {model_type!r}, so activations "
            "cannot be calibrated; use a recipe that needs none"
        )
    left_out = {"model_type", "auto_map", "quantization_config"}
    values = {key: value for key, value in source.config.items() if key not in left_out}
    try:
        config = AutoConfig.for_model(model_type, **values)
        known = type(config) in AutoModelForCausalLM._model_mapping
        auto = AutoModelForCausalLM if known else AutoModelForImageTextToText
        with torch.device("meta"):
            model: nn.Module = auto.from_config(
                config,
                dtype=torch.float32,
                trust_remote_code=False,
                # Expert by expert, each a product with a slice of the stored tensor: what
                # ``experts`` listens to.
                experts_implementation="eager",
            )
    except Exception as error:  # a config is foreign data and may break anything in there
        raise SourceError(
            f"{source.path}: transformers cannot build {model_type} from config.json "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        ) from error
    return model


def _find_blocks(
    model: nn.Module, source: Source, architecture: Architecture
) -> tuple[str, nn.ModuleList]:
    """The list of blocks that shares most names with the tensors on disk, and where it is."""
    prefix = f"{architecture.container}.0."
    on_disk = {n.removeprefix(prefix) for n in source.tensors if n.startswith(prefix)}
    lists = [
        (len(on_disk & module[0].state_dict().keys()), name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == architecture.blocks
    ]
    shared, name, blocks = max(lists, key=lambda found: found[0], default=(0, "", nn.ModuleList()))
    if not shared:
        raise SourceError(
            f"{source.path}: {architecture.blocks} blocks on disk under {architecture.container}, "
            f"and none like them in transformers' {type(model).__name__}"
        )
    return name, blocks


def _fill_computed_buffers(module: nn.Module, source: Source) -> None:
    """Compute the buffers that no checkpoint stores, such as rotary frequencies.

    transformers does it where it initialises weights. A buffer that keeps what was there before
    has been forgotten by it; filling twice finds such a one.
    """
    first = _initialised(module, 0)
    second = _initialised(module, 1)
    for name, value in second.items():
        if not torch.equal(value, first[name]):
            raise SourceError(
                f"{source.path}: transformers leaves the buffer {name} of "
                f"{type(module).__name__} undefined; activations cannot be calibrated"
            )


def _initialised(module: nn.Module, before: int) -> Mapping[str, Tensor]:
    buffers: dict[str, Tensor] = {}
    initialise: Callable[[nn.Module], None] = module._init_weights  # type: ignore[assignment]
    for path, owner in module.named_modules():
        names = [n for n in owner._non_persistent_buffers_set if owner._buffers[n] is not None]
        for name in names:
            old = getattr(owner, name)
            setattr(owner, name, torch.full_like(old, before, device="cpu"))
        if names:
            initialise(owner)
        buffers |= {f"{path}.{name}".lstrip("."): getattr(owner, name) for name in names}
    return buffers


def _in_pieces(
    forward: Callable[..., Any],
    rows: int,
    source: Source,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A block's output for all windows, computed for ``rows`` windows at a time."""
    hidden = args[0] if args else kwargs["hidden_states"]
    batch = len(hidden)
    output: Any = None
    for start in range(0, batch, rows):
        piece = slice(start, start + rows)
        part = forward(*_cut(args, batch, piece), **_cut(kwargs, batch, piece))
        main, *others = part if isinstance(part, tuple) else (part,)
        if any(other is not None for other in others):
            raise SourceError(
                f"{source.path}: the blocks of {source.config.get('model_type')} return more than "
                "hidden states; activations cannot be calibrated"
            )
        if output is None:
            output = main.new_empty(batch, *main.shape[1:])
        output[piece] = main
    return (output, *others) if isinstance(part, tuple) else output


def _cut(value: Any, batch: int, piece: slice) -> Any:
    """``value`` for the windows of ``piece``: tensors that begin with a batch axis are cut.

    Those with one axis (positions, say) do not; neither do those made for any batch, whose first
    axis is 1.
    """
    if isinstance(value, Tensor):
        return value[piece] if value.ndim > 1 and len(value) == batch else value
    if isinstance(value, dict):
        return {key: _cut(item, batch, piece) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_cut(item, batch, piece) for item in value)
    return value


def _as_fp32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
