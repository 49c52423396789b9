"""Figures for Prometheus: numbers of requests, tokens and bytes, and nobody's words."""
