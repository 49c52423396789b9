"""Events and rows to HTML."""
