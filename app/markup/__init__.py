"""Markdown as models write it: what this adds to CommonMark, for the page and the terminal."""
