"""`wick bench`: the same workload through Wick's own runner and, if wanted, another server."""
