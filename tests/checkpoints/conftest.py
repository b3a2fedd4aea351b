"""Helpers beside these tests (``gguf_files``) can be imported by their plain names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
