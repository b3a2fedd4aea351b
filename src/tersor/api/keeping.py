"""What is kept between runs: ``cache_contents``, ``clear_cache``, ``status``."""

from tersor.options import AnyPath, one_path
from tersor.pipeline.journal.status import RunStatus, run_status
from tersor.runtime.packed.contents import CacheContents, contents, removed


def cache_contents() -> CacheContents:
    """The packed weights that are kept between runs, used last first.

    Raises :class:`~tersor.errors.RecipeError` for a ``TERSOR_CACHE_LIMIT`` that is no size.
    """
    return contents()


def clear_cache(artifact: AnyPath | None = None) -> CacheContents:
    """Remove them, of all artifacts or of the directory ``artifact``; what was removed.

    They are made again when they are needed. Raises a :class:`~tersor.errors.TersorError` if
    nothing is kept of ``artifact``, or a file cannot be removed.
    """
    return removed(None if artifact is None else one_path("artifact", artifact))


def status(out: AnyPath) -> RunStatus:
    """How far the run of :func:`tersor.quantize` on ``out`` has come, from any process.

    Raises :class:`~tersor.errors.OutputError` if there is none, or its journal is damaged.
    """
    return run_status(one_path("out", out))
