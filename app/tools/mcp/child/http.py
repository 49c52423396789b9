"""The transport to an address: streamable HTTP, with a bound on what comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from app.tools.mcp.child.budget import Budget
from app.tools.mcp.protocol import MAX_MESSAGE_BYTES, McpAddress

TIMEOUT: Final = httpx2.Timeout(30.0, read=None)
"""Seconds to connect. How long an answer may take is for the parent to say."""
REFUSED: Final = {
    401: "It wants a key (401). Check its headers.",
    403: "It refuses this key (403). Check its headers.",
    404: "There is no MCP server at this address (404).",
    405: "There is no MCP server at this address (405).",
    429: "It wants fewer requests (429). Try again later.",
    **{status: f"It fails (HTTP status {status})." for status in (500, 502, 503, 504)},
}


@asynccontextmanager
async def http_transport(server: McpAddress, budget: Budget) -> AsyncGenerator[TransportStreams]:
    """Yield the streams of an HTTP server's messages.

    Redirects to other servers are not followed: the SDK sees to that.
    """
    async with (
        httpx2.AsyncClient(
            # What is compressed could grow without bounds.
            headers={**server.headers, "Accept-Encoding": "identity"},
            timeout=TIMEOUT,
            transport=_BoundedTransport(budget),
            trust_env=False,
        ) as client,
        streamable_http_client(
            server.url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
        ) as streams,
    ):
        yield streams


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    """Connections whose answers are bounded. Refusals that say why end the connector."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(trust_env=False)
        self._budget = budget

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if response.status_code in {401, 403}:
            self._budget.end(REFUSED[response.status_code])
        if request.method == "POST":
            self._budget.refusal = REFUSED.get(response.status_code, "")
        if response.headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
            self._budget.end("It sent compressed content, which Wick did not ask for.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - it is async
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        response.stream = _CountedStream(response.stream, self._budget, is_stream=is_stream)
        return response


class _CountedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, budget: Budget, *, is_stream: bool) -> None:
        self._stream = stream
        self._budget = budget
        self._is_stream = is_stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for chunk in self._stream:
            total += len(chunk)
            self._budget.spend(len(chunk))
            if not self._is_stream:
                self._budget.check_message(total)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
