"""``python -m tersor`` is the command line."""

from tersor.cli.main import main

main()
