"""What compressed-tensors, and those who read it, cannot hold."""

from tersor.formats.contents import Contents, Matrix
from tersor.formats.storage.known import PACKED, one_way, storage_for
from tersor.grids import ScaleFormat, Scheme, TensorScheme


def obstacle(scheme: Scheme, shape: tuple[int, int]) -> str | None:
    """Why compressed-tensors cannot hold a linear ``(out, in)`` with this scheme, or ``None``."""
    weights = scheme.weights
    fp4_groups = _FP4_GROUPS.get(weights.scale_format)
    if fp4_groups is None and not _has_grid(weights):
        return f"compressed-tensors has no grid {weights.grid.name}"
    if fp4_groups is None and weights.scale_format is not ScaleFormat.FLOAT:
        return f"compressed-tensors has no scales {weights.scale_format}"
    if fp4_groups not in (None, weights.group_size):
        return f"compressed-tensors has no {weights.scale_format} scales for groups of that size"
    tensors = [weights]
    if scheme.activations is not None:
        tensors.append(scheme.activations.tensor)
        if not _has_grid(tensors[-1]):
            return f"compressed-tensors has no activations on grid {tensors[-1].grid.name}"
    for tensor in tensors:
        if tensor.ragged(shape[1]):
            return f"{shape[1]} input columns are no multiple of group size {tensor.group_size}"
    return None


_FP4_GROUPS = {ScaleFormat.E8M0: 32, ScaleFormat.E4M3: 16}


def _has_grid(tensor: TensorScheme) -> bool:
    """Whether compressed-tensors knows the grid, with scales of the model's float type."""
    return tensor.grid.name in (f"int{tensor.grid.bits}", "fp8_e4m3")


def model_obstacles(contents: Contents) -> list[str]:
    """Why it cannot hold a model, or why its readers would not understand it."""
    found = []
    if contents.architecture.converted:
        found.append(
            "transformers joins tensors of this model while loading, or takes them apart, and "
            "loses them where it reads compressed-tensors"
        )
    matrices = [(one.module, _matrix_obstacle(one, contents)) for one in contents.matrices]
    return found + [f"{module}: {obstacle}" for module, obstacle in matrices if obstacle]


def _matrix_obstacle(matrix: Matrix, contents: Contents) -> str | None:
    weight, architecture = f"{matrix.module}.weight", contents.architecture
    if architecture.embedding == weight and not one_way(m.scheme for m in contents.matrices):
        return "readers of compressed-tensors decode embeddings as they do linears"
    if architecture.is_private(weight):
        return "transformers has no names for single experts of this model"
    if matrix.transposed:
        return "compressed-tensors has no transposed (Conv1D) linears"
    return obstacle(matrix.scheme, matrix.shape)


def is_packed_asymmetric(scheme: Scheme) -> bool:
    """Whether zero points are packed too."""
    return storage_for(scheme) is PACKED and not scheme.weights.grid.symmetric
