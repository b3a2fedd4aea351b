"""The page of whatever ``inspect`` found."""

from tersor.pages.artifacts import artifact_page, pair_page
from tersor.pages.models import model_page
from tersor.pipeline.inspecting.found import ArtifactInspection, ModelInspection, PairInspection
from tersor.report.html import Page


def inspection_page(found: ModelInspection | ArtifactInspection | PairInspection) -> Page:
    """Of a model, an artifact or two."""
    if isinstance(found, ModelInspection):
        return model_page(found)
    return artifact_page(found) if isinstance(found, ArtifactInspection) else pair_page(found)
