"""Who may send a request: hosts, proxies, sessions, CSRF, API keys."""
