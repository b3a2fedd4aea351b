"""The command line: Typer commands without logic."""
