"""A task of lm-eval's in local files: questions with choices, of which one is right."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {directory}/questions.jsonl}}
  cache_dir: {directory}/cache
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 3.0
"""


def save_task(directory: Path, name: str, questions: Sequence[Mapping[str, Any]]) -> None:
    """Write the task ``name``; a question has ``question``, ``choices`` and ``answer``."""
    (directory / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (directory / f"{name}.yaml").write_text(_TASK.format(name=name, directory=directory))
