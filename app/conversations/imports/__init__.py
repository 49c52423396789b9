"""Chats from files of Wick, ChatGPT and Open WebUI."""
