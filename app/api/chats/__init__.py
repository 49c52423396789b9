"""`/api/v1`: chats, messages, search and live events."""
