"""Lets `python -m fluxbase` do what the console script does."""

from fluxbase.cli import main

main()
