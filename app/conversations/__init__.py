"""Chats of users: submit, stop, recover; live streams and the hub."""
