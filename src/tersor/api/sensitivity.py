"""What quantizing each part of a model alone costs: ``sensitivity``."""

from collections.abc import Callable, Sequence

from tersor.calibration.text import open_text
from tersor.checkpoints.hub.fetching import model_path
from tersor.checkpoints.opening import open_source
from tersor.errors import OptionError
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, limits, one_path, some_paths, some_words, yes_or_no
from tersor.pages import page_place, write_page
from tersor.pages.sensitivity import sensitivity_page
from tersor.pipeline.planning.prepare import prepared
from tersor.pipeline.sensitivity.labels import variants
from tersor.pipeline.sensitivity.measure import sensitivities
from tersor.pipeline.sensitivity.protocol import Protocol
from tersor.pipeline.sensitivity.result import SensitivityResult
from tersor.recipes import AnyRecipe, known_recipe

Watch = Callable[[str], Callable[[int, int], None] | None]


@shortage_named("to measure sensitivities")
def sensitivity(
    source: AnyPath,
    recipe: AnyRecipe = "w4",
    *,
    schemes: str | Sequence[str] = ("w3", "w4", "w8"),
    by: str = "linear",
    exact: bool = False,
    exact_sample: int | None = None,
    calibration: AnyPath | Sequence[AnyPath] = (),
    tokens: int = 4096,
    window: int = 128,
    seed: int = 0,
    out: AnyPath | None = None,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    watch: Watch = lambda _: None,
) -> SensitivityResult:
    """What quantizing each part of ``source`` alone does to its predictions: KL divergence, nats.

    ``recipe``: how matrices are rounded, one by one. ``schemes``: widths, perhaps with a group
    (``w4``, ``w3g32``, ``w8c`` for one scale per channel). ``by``: a part is a ``linear``, a
    ``block`` or a ``role`` (q, k, v, o, gate, up, down, expert); head and embedding are parts of
    their own. The divergence is estimated from the gradients of ``tokens`` tokens of text in
    windows of ``window`` (of files of ``calibration``, or the mixture that comes with tersor).
    ``exact``: and measured, part after part; ``exact_sample``: of that many parts, drawn by
    ``seed``, which also draws what gradients are taken of. Figures are kept, and a run goes on
    where one ended. ``out``: an HTML file to write a report into, which replaces one that exists.
    ``watch``: given the name of a piece of work, returns what is called with how much of it is
    done and how much there is, or ``None``.

    The model is in memory in float32. Raises a :class:`~tersor.errors.TersorError`.
    """
    found = model_path("source", source)
    labels = some_words("schemes", schemes)
    part = limits.BY(by)
    texts = [open_text(path) for path in some_paths("calibration", calibration)]
    sample = limits.EXACT_SAMPLE.or_none(exact_sample)
    if yes_or_no("exact", exact) and sample is not None:
        raise OptionError("exact", "measures every part, and {} some of them", "exact_sample")
    protocol = Protocol(
        tokens=limits.TOKENS(tokens),
        window=limits.WINDOW(window),
        exact=None if exact else sample or 0,
        seed=limits.SEED(seed),
    )
    page = None if out is None else page_place(one_path("out", out))
    chosen = known_recipe("recipe", recipe)
    opened = open_source(
        found,
        allow_pickle=yes_or_no("allow_pickle", allow_pickle),
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
    )
    result = sensitivities(
        prepared(opened, chosen),
        chosen,
        variants(chosen, labels),
        by=part,
        texts=texts,
        protocol=protocol,
        watch=watch,
    )
    if page is not None:
        write_page(page, sensitivity_page(result))
    return result
