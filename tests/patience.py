"""Patience: how long a test waits for what must come."""

PATIENCE = 120.0
"""Seconds after which something that never comes is given up: only what is broken takes them."""
