"""Sessions of clients, and what has to reach them; it must not know HTTP or any method."""
