"""Accounts: users, passwords, sessions, invites and API keys."""
