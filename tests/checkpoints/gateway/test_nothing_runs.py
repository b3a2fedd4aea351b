"""What could run a checkpoint's code is called in one place, and there it is told not to."""

import ast
from collections.abc import Iterator
from pathlib import Path

import tersor

SOURCE = Path(tersor.__file__).parent
GATEWAY = SOURCE / "checkpoints" / "gateway"
# Methods that read what a checkpoint brings, whatever they are called on.
READERS = {"from_pretrained", "from_config", "for_model", "apply_chat_template"}
RUNNERS = {"exec", "eval", "compile", "__import__", "run_path", "run_module", "exec_module"}
PARSED = {file: ast.parse(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(PARSED[file]):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute):
                yield called.attr, node
            elif isinstance(called, ast.Name):
                yield called.id, node


def names(file: Path) -> Iterator[str]:
    for node in ast.walk(PARSED[file]):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def keywords(call: ast.Call) -> dict[str | None, object]:
    return {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}


def test_no_other_module_reads_through_transformers() -> None:
    forbidden = READERS | {"GenerationConfig", "PreTrainedTokenizerFast"}
    for file in PARSED:
        if GATEWAY not in file.parents:
            used = set(names(file))
            assert not used & forbidden, file
            assert not [n for n in used if n.startswith("Auto") and n[4:5].isupper()], file


def test_every_reader_is_told_to_run_and_to_fetch_nothing() -> None:
    found = [
        (name, keywords(call))
        for file in PARSED
        if GATEWAY in file.parents
        for name, call in calls(file)
        if name in ("from_pretrained", "from_config")
    ]
    assert len(found) >= 5
    for name, given in found:
        assert given["trust_remote_code"] is False
        assert name == "from_config" or given["local_files_only"] is True


# The sandbox itself, and what fills the templates of tersor's own pages.
OWN_TEMPLATES = ("sandbox.py", "rendering.py")


def test_templates_run_in_the_sandbox_alone() -> None:
    for file in PARSED:
        if file.name not in OWN_TEMPLATES:
            assert not {n for n in names(file) if n.endswith("Environment")}, file
    assert "ImmutableSandboxedEnvironment" in set(names(GATEWAY / "sandbox.py"))
    assert "Environment" not in set(names(GATEWAY / "sandbox.py"))


def test_nothing_is_executed_or_unpickled() -> None:
    for file in PARSED:
        for name, call in calls(file):
            assert not (isinstance(call.func, ast.Name) and name in RUNNERS), file
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                owner = call.func.value.id
                assert owner not in ("pickle", "subprocess", "runpy", "jinja2"), file
                if (owner, name) == ("torch", "load"):
                    assert keywords(call)["weights_only"] is True
                if (owner, name) == ("yaml", "load"):
                    assert ast.unparse(call.args[1]) == "_Loader"  # made from SafeLoader
