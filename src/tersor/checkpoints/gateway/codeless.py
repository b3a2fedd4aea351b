"""A model directory as transformers may see it: without code and without what asks for some.

Passing ``trust_remote_code=False`` is not enough: classes that make others (tokenizers named in
``tokenizer_class``, models made of several) do not hand it on, and then transformers asks on
standard output and takes ``y`` on standard input for an answer.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json, reading
from tersor.checkpoints.scratch import scratch_directory
from tersor.errors import SourceError

# What names code (of the checkpoint, of a hub's kernels, of other repositories), classes to patch,
# or other files to read in place of these.
_RUNS = re.compile(
    r"auto_map|custom_generate|custom_pipelines|use_kernels|(hub_)?kernel_config|fusion_config"
    r"|_?(attn|experts)_implementation(_internal)?|transformers_weights|configuration_files"
    r"|trust_remote_code|code_revision"
)
_WITH_SETTINGS = ("config.json", "tokenizer_config.json")
TEMPLATES = "additional_chat_templates"
_HIDDEN = frozenset({".py", ".pyc", ".so", ".pkl", ".pickle", ".pt", ".pth", ".bin"})


def without_code(value: Any) -> Any:
    """A JSON value without the keys that make transformers run code, at any depth."""
    if isinstance(value, Mapping):
        return {k: without_code(v) for k, v in value.items() if not _RUNS.fullmatch(str(k))}
    if isinstance(value, list):
        return [without_code(item) for item in value]
    return value


@contextmanager
def codeless_view(directory: Path) -> Iterator[Path]:
    """A temporary directory that links to files of another, with settings :func:`without_code`.

    Left out: code, pickles, configs of processors, and all sub-directories but that of templates.

    Raises:
        SourceError: settings that are no JSON object.
    """
    with scratch_directory() as view:
        with reading(directory):
            files = sorted(directory.iterdir())
        for file in files:
            if file.name in _WITH_SETTINGS:
                (view / file.name).write_text(_plain_text(file), encoding="utf-8")
            elif file.name == TEMPLATES or (file.is_file() and _shown(file)):
                (view / file.name).symlink_to(file.resolve())
        yield view


def _plain_text(file: Path) -> str:
    try:
        return json.dumps(without_code(read_json(file)))
    except RecursionError as error:
        raise SourceError(f"{file}: nested too deeply; download the file again") from error


def _shown(file: Path) -> bool:
    return file.suffix not in _HIDDEN and not file.name.endswith("processor_config.json")


def code_named(settings: Mapping[str, Any], auto: str) -> str:
    """The class that an ``auto_map`` names for ``auto``, for messages; empty if it names none."""
    named = settings.get("auto_map")
    if isinstance(named, Mapping):
        named = named.get(auto)
    names = named if isinstance(named, list) else [named]
    return next((name for name in reversed(names) if isinstance(name, str)), "")
