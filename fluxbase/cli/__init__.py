"""The commands: words in, words out; they decide nothing that the server decides."""

from fluxbase.cli.root import main

__all__ = ["main"]
