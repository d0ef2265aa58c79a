"""The Model Context Protocol: pure, without I/O, and without knowledge of any tool's work."""
