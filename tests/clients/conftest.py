from tests.api.conftest import http, server, tiny_shelf

__all__ = ["http", "server", "tiny_shelf"]
