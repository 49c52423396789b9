"""One module per command of `wick`."""
