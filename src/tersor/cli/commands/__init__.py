"""The commands, by what they do. Each one parses, calls one function of the library, and prints."""

from importlib import import_module

_IN_ORDER_OF_HELP = ("quantizing", "measuring", "explaining", "exchanging", "running", "caching")


def register() -> None:
    """Import every command, so that the application knows it."""
    for name in _IN_ORDER_OF_HELP:
        import_module(f"tersor.cli.commands.{name}")
