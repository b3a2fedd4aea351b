"""docs/extending.md: every example runs by itself and is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def examples() -> dict[str, str]:
    """Python blocks by the heading they stand under, at the lines they have on the page."""
    found: dict[str, str] = {}
    text = PAGE.read_text(encoding="utf-8")
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: block.start(1)]
        heading = re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1]
        assert heading not in found, f"two examples under {heading!r}"
        found[heading] = "\n" * before.count("\n") + block[1]
    return found


@pytest.mark.parametrize("heading", examples())
def test_example(heading: str, tmp_path: Path) -> None:
    code = examples()[heading]
    assert re.search(r"^ *assert ", code, re.MULTILINE), (
        "an example that asserts nothing cannot be wrong"
    )
    script = tmp_path / "extending.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", script]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
