"""WebSockets of the chat page and the models page."""
