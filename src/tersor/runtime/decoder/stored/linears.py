"""Linears of a decoder as they are stored, in the forms that the native decoder runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tersor import _native
from tersor.errors import EngineError, SourceError
from tersor.runtime.decoder.stored.names import DecoderNames
from tersor.runtime.decoder.stored.tensors import float32, sound, tensor
from tersor.runtime.linears.native_weights import dense_weights, packed_weights
from tersor.runtime.linears.panels import Floats, PackedLinear
from tersor.runtime.opening import Opened

if TYPE_CHECKING:
    from tersor.grids import QuantizedTensor


@dataclass(eq=False)
class LinearReader:
    """Reads the linears of ``model`` one by one; what was read stands in ``linears``.

    ``integer``: activations are rounded. ``dense_bits``: of what is stored as floats. ``size``:
    bytes that are read of all, ``products``: their multiply-adds for a token. ``stacked``: matrices
    that are stored together with others, by the name that they would have alone.
    """

    model: Opened
    integer: bool
    dense_bits: int
    threads: int
    names: DecoderNames
    linears: dict[str, _native.Weights] = field(default_factory=dict)
    size: int = 0
    products: int = 0
    floats: dict[str, int] = field(default_factory=dict)
    packed: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    stacked: dict[str, Callable[[], NDArray[Any]]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether there is a weight of that name."""
        return f"{name}.weight" in self.model.source.tensors or name in self.model.quantized

    def _bias(self, name: str, biased: bool, optional: bool = False) -> Floats | None:
        name = f"{name}.bias"
        if biased and (not optional or name in self.model.source.tensors):
            return float32(sound(self.model.source, name))
        if name in self.model.source.tensors:
            self.unused.append(name)
        return None

    def _dense(self, name: str) -> NDArray[Any]:
        """The weight ``(out, in)``, float32 or bits of bfloat16."""
        if name in self.model.quantized:
            return _dequantized(self.model.artifact.linear(name).weight)
        if f"{name}.weight" not in self.model.source.tensors and name in self.stacked:
            return self.stacked[name]()
        weight = sound(self.model.source, f"{name}.weight")
        if weight.ndim != 2:
            raise SourceError(
                f"{self.model.source.path}: tensor {name}.weight is {weight.shape}, no matrix; "
                "download the checkpoint again"
            )
        return weight

    def embedding(self) -> NDArray[Any] | _native.Weights:
        """The table of the embedding; if it is quantized and the head's too, the head's codes."""
        head, name = self.linears[self.names.head], self.names.embedding
        if name not in self.model.quantized:
            # Rows are looked up one by one, and not all are read: the sampler finds NaN in them.
            return tensor(self.model.source, f"{name}.weight")
        if head.is_packed and not self.has(self.names.head):
            return head
        packed = self.model.cache.held(name)
        if packed is None and self.model.artifact.schemes[name].activations is None:
            packed = self._packed(name)
        if packed is None:
            return self._dense(name)
        return packed_weights(packed, False, None, self.threads)[0]

    def add(
        self, name: str, biased: bool, weights_of: str | None = None, share: float = 1.0
    ) -> None:
        """Make the linear ``name``, whose weights may be another module's.

        ``share``: of the tokens, how many it is for.
        """
        holder = weights_of or name
        bias = self._bias(name, biased)
        if holder in self.model.quantized:
            made, size = self._quantized(holder, bias)
        elif self.dense_bits == 8:
            packed = self.model.cache.linear(f"{holder} at 8 bits", partial(self._rounded, holder))
            made, size = packed_weights(packed, self.integer, bias, self.threads)
            self.packed.append(name)
        else:
            made, size = dense_weights(self._dense(holder), bias)
        self.linears[name] = made
        self.size += round(size * share)
        self.products += round(made.rows * made.columns * share)

    def add_router(self, names: tuple[str, ...]) -> str:
        """Make a linear of floats for activations as they are, which has one of ``names``."""
        found = next((name for name in names if self.has(name)), names[0])
        made, size = dense_weights(self._dense(found), self._bias(found, True, optional=True))
        self.linears[found] = made
        self.size += size
        self.products += made.rows * made.columns
        return found

    def add_head(self, tied: bool, biased: bool = False) -> None:
        """Make the head, which may be the embedding."""
        name = self.names.head
        if not self.has(name) and not tied:
            raise SourceError(
                f"{self.model.source.path} holds no tensor {name}.weight, and config.json does not "
                "tie the head to the embedding (tie_word_embeddings)"
            )
        self.add(name, biased, None if self.has(name) else self.names.embedding)

    def notes(self) -> tuple[str, ...]:
        """What does not run as it is stored."""
        notes = [
            f"{count} linears of {name} run on dequantized weights"
            for name, count in self.floats.items()
        ]
        if self.packed:
            what = self.packed[0] if len(self.packed) == 1 else f"{len(self.packed)} linears"
            notes.append(
                f"{what} stored as floats at 8 bits per channel; --dense-bits 16 leaves them"
            )
        if self.unused:
            notes.append(
                f"{len(self.unused)} biases that this architecture does not have are left out, "
                f"{self.unused[0]} first"
            )
        return tuple(notes)

    def _quantized(self, name: str, bias: Floats | None) -> tuple[_native.Weights, int]:
        packed = self._packed(name)
        if packed is not None:
            integer = packed.levels is None and (self.integer or packed.rounded)
            return packed_weights(packed, integer, bias, self.threads)
        weight = self.model.artifact.linear(name).weight
        self.floats[weight.grid.name] = self.floats.get(weight.grid.name, 0) + 1
        return dense_weights(_dequantized(weight), bias)

    def _packed(self, name: str) -> PackedLinear | None:
        """A quantized linear as it was kept, or packed now; None if no kernel runs it."""
        held = self.model.cache.held(name)
        if held is not None:
            return held
        from tersor.runtime.linears.packing import has_kernel
        from tersor.runtime.linears.replacing import is_the_kernels, packed_of

        artifact = self.model.artifact
        scheme = artifact.schemes[name]
        if scheme.activations is not None and not is_the_kernels(scheme):
            raise EngineError(f"activations {scheme.activations}")
        if not has_kernel(scheme.weights.grid):
            return None
        return self.model.cache.linear(name, partial(packed_of, artifact, name))

    def _rounded(self, name: str) -> PackedLinear:
        """A matrix of floats at 8 bits."""
        import torch

        from tersor.runtime.linears.packing import eight_bits

        weight = torch.from_numpy(self._dense(name))
        bits = weight.dtype == torch.uint16
        return eight_bits(weight.view(torch.bfloat16) if bits else weight)


def _dequantized(weight: "QuantizedTensor") -> NDArray[Any]:
    values: NDArray[Any] = weight.dequantize().numpy()
    return values
