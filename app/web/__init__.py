"""One module per screen or resource of the page."""
