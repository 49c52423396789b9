"""What Wick survives, proven on real servers: `python -m tests.prove`."""
