"""The bound on what an MCP server may send, and the end of a connector."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from app.tools.mcp.protocol import MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, Ended, McpEvent


def end_group() -> NoReturn:
    """End this process and all that it or its server has started."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)  # never reached where there are process groups


class Budget:
    """Bytes that the server may still send; more are the end of the connection.

    refusal: how an HTTP server has last refused, in words; empty where it has not.
    """

    def __init__(self, emit: Callable[[McpEvent], None]) -> None:
        self.emit = emit
        self._left = MAX_REQUEST_BYTES
        self.refusal = ""

    def renew(self) -> None:
        """Allow as much again: the server was asked for something."""
        self._left = MAX_REQUEST_BYTES

    def spend(self, count: int) -> None:
        """Count bytes that came; too many are the end."""
        self._left -= count
        if self._left < 0:
            self.end(f"It sent more than {MAX_REQUEST_BYTES >> 20} MB at once.")

    def check_message(self, count: int) -> None:
        """Count the bytes of one message; too many are the end."""
        if count > MAX_MESSAGE_BYTES:
            self.end(f"It sent a message of more than {MAX_MESSAGE_BYTES >> 20} MB.")

    def end(self, message: str) -> NoReturn:
        """Say why the connection is over, and end."""
        self.emit(Ended(message))
        end_group()
