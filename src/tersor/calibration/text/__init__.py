"""What a model is given to read: files → windows of tokens.

compressed  files as bytes, whatever compressed them
files       what a file holds: prose, or rows of a data set
records     JSON, JSON lines, CSV and Parquet → rows
rows        a row: a text or the messages of a conversation
template    conversations through the model's chat template
provenance  which texts were read, and how
windows     tokens → windows that begin as the tokenizer begins everything
pack        several files → windows, each with its share
corpus      what comes with tersor
"""

from tersor.calibration.text.corpus import calibration_files, evaluation_file
from tersor.calibration.text.files import TextFile, open_text, read_plain
from tersor.calibration.text.pack import Packed, pack
from tersor.calibration.text.provenance import (
    TextIdentity,
    TextRecord,
    TextUse,
    windows_digest,
)
from tersor.calibration.text.windows import Tokenizer, check_windows, first_tokens, windows

__all__ = [
    "Packed",
    "TextFile",
    "TextIdentity",
    "TextRecord",
    "TextUse",
    "Tokenizer",
    "calibration_files",
    "check_windows",
    "evaluation_file",
    "first_tokens",
    "open_text",
    "pack",
    "read_plain",
    "windows",
    "windows_digest",
]
