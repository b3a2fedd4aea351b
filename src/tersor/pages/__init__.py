"""Results as pages for people: one file per page, each from a result to a ``Page``."""

from tersor.pages.writing import page_place, write_page

__all__ = ["page_place", "write_page"]
