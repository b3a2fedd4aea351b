"""Whether an artifact holds the weights of its original, or what a transform made of them."""

from pathlib import Path

from tersor.errors import TersorError
from tersor.pipeline.inspecting.opened import Original
from tersor.recipes import load_recipe
from tersor.runtime.artifact import Artifact

_RECIPE = "recipe.yaml"
# Types with 8 significant bits round by less.
_OTHER = 0.02


def transformed(artifact: Artifact, original: Original) -> str:
    """Why the matrices of an artifact cannot be held against the original's; empty if they can.

    A recipe beside it says so, or norms that differ: AWQ, SmoothQuant and rotations fold what they
    do to matrices into the norms before them.
    """
    path = artifact.source.path
    for why in (_by_recipe(path), _by_norms(artifact, original)):
        if why:
            return (
                f"{why}: the matrices that were rounded are others than those of "
                f"{original.source.path}, so what was lost of each cannot be told from it"
            )
    return ""


def _by_recipe(path: Path) -> str:
    if not (path / _RECIPE).is_file():
        return ""
    try:
        recipe = load_recipe(path / _RECIPE)
    except TersorError:
        return ""
    if recipe.rotation is not None:
        return f"recipe {recipe.name} rotates weights before it rounds them"
    return (
        ""
        if recipe.scaling is None
        else (f"recipe {recipe.name} scales weights before it rounds them")
    )


def _by_norms(artifact: Artifact, original: Original) -> str:
    """Vectors of weights are few and small; biases may have been corrected, and say nothing."""
    theirs = original.source.tensors
    for name in artifact.plain_names():
        info = artifact.source.tensors[name]
        if len(info.shape) != 1 or not name.endswith(".weight") or name not in theirs:
            continue
        if theirs[name].shape != info.shape:
            continue
        mine = artifact.source.read([name])[name].float()
        before = original.source.read([name])[name].float()
        if bool(((mine - before).abs() > _OTHER * before.abs().amax()).any()):
            return f"{name} is another one than in {original.source.path}"
    return ""
