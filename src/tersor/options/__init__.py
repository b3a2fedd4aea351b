"""What every option takes, in one place for the command line and for Python.

bounds   ``Whole``, ``Number``, ``Choice``: kinds of values that check themselves
limits   the bounds of every option, by name
given    paths, flags and lists as they come from a caller
nearest  "did you mean …?"

A value that an option does not take raises :class:`~tersor.errors.OptionError` before any work.
"""

from tersor.options import limits
from tersor.options.bounds import Choice, Number, Whole
from tersor.options.given import (
    AnyPath,
    comma_separated,
    of_kind,
    one_path,
    refuse_without,
    several,
    some_paths,
    some_words,
    whole_numbers,
    yes_or_no,
)
from tersor.options.nearest import did_you_mean, nearest

__all__ = [
    "AnyPath",
    "Choice",
    "Number",
    "Whole",
    "comma_separated",
    "did_you_mean",
    "limits",
    "nearest",
    "of_kind",
    "one_path",
    "refuse_without",
    "several",
    "some_paths",
    "some_words",
    "whole_numbers",
    "yes_or_no",
]
