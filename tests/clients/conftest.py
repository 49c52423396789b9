from tests.api.conftest import http, server

__all__ = ["http", "server"]
