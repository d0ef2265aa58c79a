"""Procedures, without a database."""
