"""What is lost, where and why: ``explain``, ``explain_weight``, ``inspect``."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.output.single_file import check_file
from tersor.errors import OptionError
from tersor.explaining import Explanation, explain_values
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, one_path, yes_or_no
from tersor.pages import write_page
from tersor.pipeline.inspecting.found import (
    ArtifactInspection,
    ModelInspection,
    PairInspection,
)
from tersor.pipeline.inspecting.walk import Watch, inspected
from tersor.pipeline.inspecting.weight import WeightExplanation, explain_one
from tersor.recipes import Adjustments, AnyRecipe, known_recipe


def explain(
    values: str | float | Sequence[float | str],
    bits: int = 8,
    *,
    asymmetric: bool = False,
    scale: float | str | None = None,
    zero_point: int | None = None,
    out: AnyPath | None = None,
    force: bool = False,
) -> Explanation:
    """Quantize a few numbers that share one scale, and keep every step on the way.

    ``values``: numbers, or text like ``"-1.5,0,2"``. ``asymmetric``: with a zero point. ``scale``:
    used as it is; without it the values choose it. ``zero_point``: the signed code that stands
    for 0, beside a given scale. ``out``: an HTML file to show it in, ``force``: even if it exists.

    Raises :class:`~tersor.errors.OptionError`, which says at which position a value is no number.
    """
    page = _page(out, force)
    found = explain_values(
        values,
        bits,
        asymmetric=yes_or_no("asymmetric", asymmetric),
        scale=scale,
        zero_point=zero_point,
    )
    if page is not None:
        from tersor.pages.explanation import values_page

        write_page(page, values_page(found))
    return found


@shortage_named("to explain a weight")
def explain_weight(
    source: AnyPath,
    tensor: str,
    *,
    row: int | None = None,
    column: int | None = None,
    recipe: AnyRecipe | None = None,
    bits: int | None = None,
    group_size: int | None = None,
    asymmetric: bool = False,
    base: AnyPath | None = None,
    effect: bool = True,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    out: AnyPath | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> WeightExplanation:
    """Follow one weight of a matrix: stored float, group, scale, code, bits in the file, and back.

    ``source``: a model, or a quantized one, beside which ``base`` is its original. ``tensor``: the
    matrix, with or without ``.weight``. ``row``, ``column``: the weight; without them the one that
    loses most. ``recipe``: how a model that is not quantized is rounded (``w4``), with ``bits``,
    ``group_size`` and ``asymmetric`` as in :func:`~tersor.quantize`. ``effect``: also run the model
    on a few words, with this weight, its row and its matrix rounded, and say what it does to an
    output and to the largest logit. ``out``: an HTML file to show it in, ``force``: even if it
    exists. ``progress``: called with runs of the model that are done and runs in all.

    Raises a :class:`~tersor.errors.TersorError`; for a name that is not there with the nearest one.
    """
    page = _page(out, force)
    given = {"recipe": recipe, "bits": bits, "group_size": group_size, "asymmetric": asymmetric}
    chosen = known_recipe("recipe", "w4" if recipe is None else recipe)
    adjusted = Adjustments(bits, group_size, asymmetric).apply(chosen)
    found = explain_one(
        model_path("source", source),
        tensor,
        row=row,
        column=column,
        recipe=adjusted,
        given=[name for name, value in given.items() if value not in (None, False)],
        base=None if base is None else model_path("base", base),
        effect=yes_or_no("effect", effect),
        allow_pickle=yes_or_no("allow_pickle", allow_pickle),
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        progress=progress,
    )
    if page is not None:
        from tersor.pages.explanation import weight_page

        write_page(page, weight_page(found))
    return found


@shortage_named("to inspect")
def inspect(
    source: AnyPath,
    other: AnyPath | None = None,
    *,
    base: AnyPath | None = None,
    asymmetric: bool = False,
    activations: bool = True,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    out: AnyPath | None = None,
    force: bool = False,
    watch: Watch = lambda _: None,
) -> ModelInspection | ArtifactInspection | PairInspection:
    """Look at every linear of a model; or at the codes of an artifact, or of two beside each other.

    Of a model: how weights are spread, which columns stand out, what rounding to nearest loses at
    8, 4, 3 and 2 bits with one scale per tensor, channel and group, and, with ``activations``, the
    largest input of every channel while a little built-in text runs through the model.
    ``asymmetric``: grids with zero points. Of artifacts: what codes use of their grids, and against
    the original ``base`` what was lost. One matrix is in memory at a time, one block while text
    runs. ``out``: an HTML file to show it in, ``force``: even if it exists. ``watch``: given the
    name of a piece of work, returns what is called with how much of it is done and how much there
    is, or ``None``.

    Raises a :class:`~tersor.errors.TersorError`. A model whose blocks cannot be run is looked at
    without activations, and a note says why.
    """
    page = _page(out, force)
    found = inspected(
        model_path("source", source),
        None if other is None else model_path("other", other),
        base=None if base is None else model_path("base", base),
        asymmetric=yes_or_no("asymmetric", asymmetric),
        activations=yes_or_no("activations", activations),
        allow_pickle=yes_or_no("allow_pickle", allow_pickle),
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        watch=watch,
    )
    if page is not None:
        from tersor.pages.inspected import inspection_page

        write_page(page, inspection_page(found))
    return found


def _page(out: AnyPath | None, force: bool) -> Path | None:
    """The file of a page, which can be written."""
    yes_or_no("force", force)
    if out is None:
        if force:
            raise OptionError("force", "has no effect without {}", "out")
        return None
    path = one_path("out", out)
    check_file(path, force=force)
    return path
