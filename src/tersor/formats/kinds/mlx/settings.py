"""``quantization`` of an MLX config: one scheme for all, and others by module.

Layout: https://github.com/ml-explore/mlx-lm, ``utils.py`` (``quantize_model``, ``load_model``).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tersor.errors import FormatError
from tersor.grids import AffineGrid, Granularity, Scheme, TensorScheme

KEY = "quantization"
"""Of a config; the same is under ``quantization_config``."""
SIZES = (32, 64, 128)
WIDTHS = (2, 3, 4, 5, 6, 8)
_MODE = "affine"


def written(groups: Mapping[Scheme, list[str]]) -> dict[str, Any]:
    """The description of modules by their schemes; the largest group is the one for all."""
    first, *others = sorted(groups, key=lambda one: (-len(groups[one]), str(one)))
    by_module = {module: _one(scheme) for scheme in others for module in groups[scheme]}
    return {**_one(first), **dict(sorted(by_module.items()))}


def _one(scheme: Scheme) -> dict[str, Any]:
    weights = scheme.weights
    return {"group_size": weights.group_size, "bits": weights.grid.bits, "mode": _MODE}


def schemes_of(settings: Mapping[str, Any], modules: Iterable[str]) -> dict[str, Scheme]:
    """Scheme of every module. Raises :class:`FormatError`."""
    common = _scheme(settings, settings, KEY)
    found = {}
    for module in modules:
        own = settings.get(module)
        if own is False:
            raise FormatError(
                f"{KEY}: says that {module} is not quantized, and it has scales; take config.json "
                "and weights from one model"
            )
        given = isinstance(own, Mapping)
        found[module] = _scheme(own, settings, f"{KEY}.{module}") if given else common
    return found


def _scheme(settings: Any, common: Mapping[str, Any], where: str) -> Scheme:
    bits, size = (settings.get(key, common.get(key)) for key in ("bits", "group_size"))
    mode = settings.get("mode", common.get("mode", _MODE))
    if mode != _MODE:
        raise FormatError(f"{where}: mode is {mode!r}; tersor reads {_MODE}")
    for key, value, known in (("bits", bits, WIDTHS), ("group_size", size, SIZES)):
        if not isinstance(value, int) or isinstance(value, bool) or value not in known:
            *some, last = map(str, known)
            raise FormatError(f"{where}: {key} is {value!r}, not {', '.join(some)} or {last}")
    return Scheme(TensorScheme(AffineGrid(bits), Granularity.GROUP, size))
