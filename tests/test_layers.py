"""Imports against the table of layers in ``ARCHITECTURE.md``."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/tersor"
SUFFIXES = {".py", ".yaml", ".md", ".json", ".cpp", ".hpp", ".inl", ".toml", ".txt", ".svg"}
ENDING = re.compile(r"(?<=..)(?:ations?|ings?|ers?|ed|es|s|e)$")


def table(page: str) -> dict[str, int]:
    """Package → number of its row, from the top."""
    rows = re.search(r"\| packages \|.*\n\|[-|]+\n((?:\|.*\n)+)", page)
    assert rows is not None
    cells = [line.split("|")[1] for line in rows[1].splitlines()]
    names = [(name, row) for row, cell in enumerate(cells) for name in re.findall(r"`(\w+)`", cell)]
    assert len(names) == len(dict(names)), "a package stands in two rows"
    return dict(names)


def imported(code: str) -> Iterator[str]:
    """Packages of tersor that a module imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tersor":
            found = [f"tersor.{alias.name}" for alias in node.names]
        else:
            found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in found:
            first, *rest = name.split(".")
            if first == "tersor":
                yield rest[0] if rest else "__init__"


def package_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def violations(rows: dict[str, int], package: str, code: str) -> list[str]:
    return [
        f"{package} imports {other}"
        for other in imported(code)
        if other != package and rows[other] <= rows[package]
    ]


def test_every_package_has_its_row() -> None:
    rows = table((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    packages = {package_of(file) for file in PACKAGE.rglob("*.py")} | {"_native"}
    assert set(rows) == packages


def test_packages_import_only_what_lies_below_them() -> None:
    rows = table((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    found = [
        f"{file.relative_to(ROOT)}: {violation}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for violation in violations(rows, package_of(file), file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "from tersor.recipes import Recipe",
        "import tersor.recipes",
        "from tersor import recipes",
        "def later():\n    from tersor.recipes.text import parse",
    ],
)
def test_an_import_of_what_lies_above_is_found(code: str) -> None:
    rows = {"recipes": 0, "formats": 1}
    assert violations(rows, "formats", code) == ["formats imports recipes"]
    assert violations(rows, "recipes", "from tersor.formats import layout") == []


def folders() -> Iterator[Path]:
    yield ROOT
    for name in ("src/tersor", "native", "tests", "docs", "benchmarks"):
        yield from (path for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_dir())


def test_folders_hold_a_dozen_files_at_most() -> None:
    """And no two names that differ by an ending."""
    for folder in folders():
        names = {path.name for path in folder.iterdir() if path.suffix in SUFFIXES}
        assert len(names) <= 12, f"{folder} has {len(names)} files"
        stems = sorted({name.split(".")[0] for name in names})
        bare = [ENDING.sub("", stem) for stem in stems]
        alike = [stem for stem, root in zip(stems, bare, strict=True) if bare.count(root) > 1]
        assert alike == [], f"{folder}: {alike} differ by an ending"
