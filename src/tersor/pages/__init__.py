"""Results as pages for people: one file per page, each from a result to a ``Page``."""

from tersor.pages.writing import write_page

__all__ = ["write_page"]
