"""Who may come in: people, their passwords and logins, invitations and keys."""
