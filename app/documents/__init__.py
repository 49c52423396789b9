"""Documents that people bring: their text, by pages."""
