"""Limits of the server beneath the application, per connection.

Hypercorn's own timeout for connections that say nothing (KEEP_ALIVE) also bounds how long a
request's head may take; how long its body may take is the application's (BODY_TIMEOUT). There is
no limit on silence beyond those: streams of events and sockets are silent for as long as a model
thinks.
"""

from __future__ import annotations

import logging

from hypercorn.config import Config

from app.cli import hypercorn_patches
from app.cli.connection_limiter import ConnectionLimiter

KEEP_ALIVE = 5.0
HEAD_BYTES = 16 << 10
PING_SECONDS = 3.0
"""Two that are not answered end a connection, so a dead one is noticed within 10 seconds."""


def configure(config: Config, longest_message: int, limiter: ConnectionLimiter) -> None:
    """Configure Hypercorn.

    `longest_message`: bytes of one message on a socket; `limiter`: who may connect.
    """
    config.errorlog = logging.getLogger("hypercorn")
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.3
    config.shutdown_timeout = 1.5
    config.keep_alive_timeout = KEEP_ALIVE
    config.ssl_handshake_timeout = KEEP_ALIVE
    config.h11_max_incomplete_size = HEAD_BYTES
    config.alpn_protocols = ["http/1.1"]
    config.websocket_max_message_size = longest_message
    config.websocket_ping_interval = PING_SECONDS
    config.include_server_header = False
    hypercorn_patches.install(longest_message, limiter)
