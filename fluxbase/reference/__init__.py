"""Writes the reference pages and the sample configuration from the program itself."""

from fluxbase.reference.pages import pages

__all__ = ["pages"]
