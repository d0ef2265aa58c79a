"""Procedures: functions of the database that administrators publish for keys to call."""
