"""Who takes part, a module for each kind of server; none of them measures."""
