"""Guards of requests: hosts, proxies, sessions, CSRF, API keys."""
