"""Wick as a service that starts with the machine."""
