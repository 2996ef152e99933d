"""The command line. Data goes to stdout, everything else to stderr; exit 0 ok, 1 error, 2 usage, 3 drift (O1)."""

from controller.cli.main import main

__all__ = ["main"]
