"""Measures Fluxbase against peers on one database; asserts nothing, run by `make bench`."""
