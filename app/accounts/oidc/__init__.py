"""Logging in by OpenID providers."""
