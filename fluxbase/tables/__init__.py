"""The room of tables: reading and writing rows."""
