"""Measures query_table against peers on one database; asserts nothing, run by `make bench`."""
