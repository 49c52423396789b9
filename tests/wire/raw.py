"""A client that speaks bytes: it can send what no library would, and hears what comes back."""

from __future__ import annotations

import asyncio
import base64
import secrets
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.patience import PATIENCE

MORE, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
    wide: bool = False,
) -> bytes:
    """One frame. `length`: what it says its payload has; `wide`: says it in 8 bytes."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mark = 0x80 if masked else 0
    if wide or size > 0xFFFF:
        head = struct.pack("!BBQ", first, mark | 127, size)
    elif size > 125:
        head = struct.pack("!BBH", first, mark | 126, size)
    else:
        head = struct.pack("!BB", first, mark | size)
    if not masked:
        return head + payload
    key = secrets.token_bytes(4)
    cover = (key * (len(payload) // 4 + 1))[: len(payload)]
    hidden = int.from_bytes(payload, "big") ^ int.from_bytes(cover, "big")
    return head + key + hidden.to_bytes(len(payload), "big")


def goodbye(code: int, reason: bytes = b"") -> bytes:
    return frame(struct.pack("!H", code) + reason, CLOSE)


@dataclass(frozen=True)
class Heard:
    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Return the code of a close frame; 1005 when it has none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else 1005


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        """Send bytes; a server that does not take them any more is no error here."""
        with suppress(ConnectionError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()

    async def rest(self) -> bytes:
        """Read until the connection ends."""
        with suppress(ConnectionError):
            return await self.reader.read()
        return b""

    async def head(self) -> tuple[int, str]:
        """The status and the headers of an answer; status 0 when there is none."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, ""
        return int(head.split()[1]), head.lower()

    async def hear(self) -> Heard | None:
        """The next frame, or None at the end of the connection."""
        try:
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return Heard(first & 0x0F, await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def hear_until(self, opcode: int, words: bytes = b"") -> bool:
        """Tell whether such a frame comes before the connection ends."""
        while (heard := await self.hear()) is not None:
            if heard.opcode == opcode and words in heard.payload:
                return True
            if heard.opcode == CLOSE:
                return False
        return False

    async def ended(self) -> int | None:
        """Waits for the end. The code of the server's close frame, if there was one."""
        code = None
        while (heard := await self.hear()) is not None:
            if heard.opcode == CLOSE:
                code = heard.code
        return code

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self.reader.at_eof() or self.reader.exception() is not None

    def vanish(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Raw]:
    """A connection on which nothing has been said yet."""
    async with asyncio.timeout(PATIENCE):
        raw = Raw(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield raw
        finally:
            raw.vanish()


def path() -> str:
    return f"/chats/{secrets.token_hex(8)}/live"


def upgrade(
    port: int,
    headers: Mapping[str, str | None] | None = None,
    *,
    method: str = "GET",
    version: str = "1.1",
    more: str = "",
) -> bytes:
    """A handshake. `headers` replace its own, None leaves one out; `more`: lines beyond them."""
    own: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Origin": f"http://127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
    }
    given = own | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
    return f"{method} {path()} HTTP/{version}\r\n{lines}{more}\r\n".encode("latin1")


@asynccontextmanager
async def socket(port: int, headers: Mapping[str, str | None] | None = None) -> AsyncIterator[Raw]:
    """A connection that has become a WebSocket and has shown its greeting."""
    async with wire(port) as raw:
        await raw.send(upgrade(port, headers))
        status, _ = await raw.head()
        assert status == 101
        assert await raw.hear_until(TEXT)
        yield raw


async def assert_serves(port: int) -> None:
    """Whoever behaves is served, whatever others do."""
    async with socket(port) as good:
        await good.send(frame(b"hello"))
        assert await good.hear_until(TEXT, b"did not understand")
