"""The door: bytes in, bytes out."""
