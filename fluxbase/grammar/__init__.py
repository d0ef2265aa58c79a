"""The words of a call about rows, read into trees; it must not know any table, nor make SQL."""
