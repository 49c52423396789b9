"""Chromium, Firefox and WebKit behind one protocol, for the flows that work in all of them."""
