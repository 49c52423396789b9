"""Requests that are too large, too slow or say two things at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from app import server
from app.cli import http_server
from app.cli.connection_limits import ConnectionLimiter
from app.config import Settings
from app.web import bodies
from tests.e2e.server import free_port
from tests.patience import PATIENCE
from tests.wire.raw import TEXT, frame, socket, wire

HASTE = 0.2


@dataclass
class Wick:
    port: int
    folder: Path

    def head(
        self, method: str, path: str, *lines: str, host: str = "", origin: str = "own"
    ) -> bytes:
        own = f"127.0.0.1:{self.port}"
        given = [f"{method} {path} HTTP/1.1", f"Host: {host or own}", *lines]
        if origin:
            given.append(f"Origin: {f'http://{own}' if origin == 'own' else origin}")
        return ("\r\n".join(given) + "\r\n\r\n").encode()


@asynccontextmanager
async def served(folder: Path, most_connections: int = 0) -> AsyncIterator[Wick]:
    port, stop = free_port(), asyncio.Event()
    settings = Settings(
        data_dir=folder, models_dir=folder / "models", auto_pull=False, port=port, upload_mb=1
    )
    app = server.create_app(settings)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    http_server.configure(config, 1 << 20, ConnectionLimiter(settings, most_connections))
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    async with asyncio.timeout(PATIENCE):
        while not await _listens(port):
            await asyncio.sleep(0.01)
    yield Wick(port, folder)
    stop.set()
    await serving


@pytest.fixture(scope="module")
async def wick(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wick]:
    async with served(tmp_path_factory.mktemp("wick")) as wick:
        yield wick


@pytest.fixture
async def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wick]:
    """Its patience is short, so that nobody waits for it to end."""
    monkeypatch.setattr(http_server, "KEEP_ALIVE_SECONDS", HASTE)
    monkeypatch.setattr(server, "BODY_SECONDS", HASTE)
    monkeypatch.setattr(bodies, "IDLE_TIMEOUT", HASTE)
    async with served(tmp_path) as wick:
        yield wick


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def status_of(wick: Wick, *parts: bytes) -> int:
    async with wire(wick.port) as raw:
        await raw.send(*parts)
        status, _ = await raw.head()
        return status


FORM = "Content-Type: application/x-www-form-urlencoded"
NAME = "/chats/0123456789abcdef/name"


async def test_a_request_head_that_does_not_end_is_refused(hasty: Wick) -> None:
    """And a socket that has been silent for as long is left alone."""
    async with socket(hasty.port) as silent:
        for begun in (b"", b"GET / HT", hasty.head("GET", "/")[:-2] + b"X-Slow: "):
            async with wire(hasty.port) as raw:
                await raw.send(begun)
                assert await raw.reader.read() == b""
        await silent.send(frame(b"hello"))
        assert await silent.hear_until(TEXT, b"did not understand")


async def test_a_form_that_does_not_end_is_refused(hasty: Wick) -> None:
    head = hasty.head("POST", NAME, FORM, "Content-Length: 100")
    assert await status_of(hasty, head, b"title=") == 408


async def test_chunks_that_do_not_end_are_refused(hasty: Wick) -> None:
    head = hasty.head("POST", NAME, FORM, "Transfer-Encoding: chunked")
    assert await status_of(hasty, head, b"6\r\ntitle=\r\n") == 408


@pytest.mark.parametrize("path", ["/api/pull", "/v1/nothing", NAME])
async def test_an_answer_before_the_end_of_its_request_is_the_last(wick: Wick, path: str) -> None:
    """Else a client sends its next request on a connection that is being closed."""
    async with wire(wick.port) as raw:
        await raw.send(wick.head("POST", path, "Content-Length: 100", origin=""))
        status, head = await raw.head()
        assert 400 <= status < 500
        assert "connection: close" in head
        await raw.rest()


async def test_a_connection_goes_on_after_a_refusal(wick: Wick) -> None:
    async with wire(wick.port) as raw:
        for _ in range(2):
            body = b'{"model": "x"}'
            await raw.send(wick.head("POST", "/api/pull", f"Content-Length: {len(body)}") + body)
            status, head = await raw.head()
            assert status == 404
            assert "connection: close" not in head
            length = int(head.partition("content-length: ")[2].split("\r")[0])
            await raw.reader.readexactly(length)


@pytest.mark.parametrize("said", [True, False], ids=["said", "in pieces"])
async def test_a_form_that_is_too_large_is_refused(wick: Wick, said: bool) -> None:
    size = (1 << 20) + 1
    if said:
        parts = [wick.head("POST", NAME, FORM, f"Content-Length: {size}")]
    else:
        parts = [wick.head("POST", NAME, FORM, "Transfer-Encoding: chunked")]
        parts += [b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 17
    assert await status_of(wick, *parts) == 413


async def test_an_upload_that_pauses_leaves_nothing(hasty: Wick) -> None:
    head = hasty.head("PUT", "/models/upload/tiny.gguf", "Content-Length: 1000")
    assert await status_of(hasty, head, b"GGUF") == 408
    assert [path for path in (hasty.folder / "models").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("said", [True, False], ids=["said", "in pieces"])
async def test_an_upload_that_is_too_large_is_refused(wick: Wick, said: bool) -> None:
    if said:
        head = wick.head("PUT", "/models/upload/tiny.gguf", f"Content-Length: {2 << 20}")
        assert await status_of(wick, head) == 422
    else:
        head = wick.head("PUT", "/models/upload/tiny.gguf", "Transfer-Encoding: chunked")
        piece = b"10000\r\n" + (b"GGUF" + bytes(0xFFFC)) + b"\r\n"
        assert await status_of(wick, head, *[piece] * 17) == 422
    assert [path for path in (wick.folder / "models").rglob("*") if path.is_file()] == []


CHUNKED = "Transfer-Encoding: chunked"
NONSENSE: dict[str, tuple[str, ...]] = {
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "a length below zero": ("Content-Length: -1",),
    "a length in words": ("Content-Length: five",),
    "an encoding that nobody knows": ("Transfer-Encoding: gzip, chunked",),
    "a header without a name": (": x",),
    "a space before the colon": ("X-Odd : x",),
    "a bare line feed": ("X-Odd: a\nX-Other: b\x00",),
    "too much": (f"X-Long: {'x' * 100_000}",),
    "two hosts": ("Host: evil.example",),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_request_head_that_makes_no_sense_is_refused(wick: Wick, name: str) -> None:
    assert await status_of(wick, wick.head("POST", NAME, *NONSENSE[name])) in {400, 431, 501}


async def test_a_length_beside_chunks_smuggles_nothing(hasty: Wick) -> None:
    """What follows is either the rest of the first request or never looked at."""
    second = hasty.head("GET", "/healthz")
    first = hasty.head("POST", NAME, FORM, CHUNKED, f"Content-Length: {5 + len(second)}")
    async with wire(hasty.port) as raw:
        await raw.send(first + b"0\r\n\r\n" + second)
        said = await raw.reader.read()
    assert said.count(b'"status"') <= 1
    assert b"HTTP/1.1 200" not in said.split(b"\r\n", 1)[0]


@pytest.mark.parametrize(
    ("method", "host", "origin"),
    [
        ("GET", "evil.example", ""),  # a name that was bound anew to this address
        ("GET", "127.0.0.1.evil.example", ""),
        ("POST", "", ""),
        ("POST", "", "null"),
        ("POST", "", "http://evil.example"),
        ("DELETE", "", ""),
        ("PUT", "", ""),
    ],
)
async def test_requests_that_other_sites_could_send_are_refused(
    wick: Wick, method: str, host: str, origin: str
) -> None:
    path = {"GET": "/", "PUT": "/models/upload/x.gguf", "DELETE": "/trash"}.get(method, NAME)
    head = wick.head(method, path, "Content-Length: 0", host=host, origin=origin)
    assert await status_of(wick, head) == 403


BOTH = ("Transfer-Encoding: chunked", "Content-Length: 5")
REFUSED: dict[str, tuple[str, ...]] = {
    "a length and pieces": BOTH,
    "pieces and a length": BOTH[::-1],
    "a length and folded pieces": ("Content-Length: 5", "Transfer-Encoding:\r\n chunked"),
    "pieces and the same length twice": (*BOTH, "Content-Length: 5"),
    "lengths that differ in one header": ("Content-Length: 5, 6",),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_body_of_two_lengths_is_refused_and_the_connection_ends(
    wick: Wick, name: str
) -> None:
    """A proxy might have understood the other one, and taken the rest for a request."""
    async with wire(wick.port) as raw:
        await raw.send(wick.head("POST", NAME, FORM, *REFUSED[name]) + b"0\r\n\r\n")
        await raw.send(wick.head("GET", "/healthz"))
        said = await raw.rest()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in said.lower()
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.split(b"\r\n\r\n")[1].strip()


async def test_chunks_in_http_1_0_are_refused(wick: Wick) -> None:
    head = wick.head("POST", NAME, FORM, CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert await status_of(wick, head + b"0\r\n\r\n") == 400


TARGETS: dict[str, int] = {
    "?": 400,
    "?x=1": 400,
    "*": 400,
    "healthz": 400,
    "127.0.0.1:80": 400,
    "ftp://127.0.0.1/": 400,
    "http://": 400,
    "http:///": 400,
    "http://evil.example/healthz": 400,
    "HTTP://OWN": 200,
    "http://OWN/healthz?x=/y": 200,
    "http://OWN?x=/y": 200,
    "//healthz": 200,
    "/%": 404,
    "/%ff%fe": 404,
    "/%00": 404,
    "/chats/%ff": 404,
    "/chats/%00%0d%0a": 404,
    "/%2e%2e/%2e%2e/etc/passwd": 404,
    "/static/%00": 404,
    "/static/%2e%2e/%ff": 404,
    "/search?q=%ff%00&%=%": 200,
    "/healthz#part": 404,
    "/v1/%ff": 404,
    "/" + "a" * 8000: 404,
    "/static/" + "a" * 4000: 404,
    "/static/" + "%f0%9f%90%95" * 90: 404,
    "/models/upload/" + "a" * 4000 + ".gguf": 502,
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:30])
async def test_an_odd_request_target_breaks_nothing(
    wick: Wick, target: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = {TARGETS[target]} if method == "GET" else {400, 403, 404, 405, 415}
    target = target.replace("OWN", f"127.0.0.1:{wick.port}")
    assert await status_of(wick, wick.head(method, target, "Content-Length: 0")) in expected
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("target", ["*", "127.0.0.1:80", "/"])
@pytest.mark.parametrize("method", ["OPTIONS", "CONNECT", "TRACE", "BREW", "get"])
async def test_an_odd_method_breaks_nothing(
    wick: Wick, method: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = {400, 405} if method != "get" or target != "/" else {200}
    assert await status_of(wick, wick.head(method, target)) in expected | {200}
    assert not [record for record in caplog.records if record.exc_info]


LINES: dict[str, tuple[bytes, set[int]]] = {
    "an odd charset": (b"Content-Type: application/x-www-form-urlencoded; charset=\xff\xfe", {200}),
    "an unknown charset": (b"Content-Type: text/plain; charset=klingon", {200}),
    "an odd type": (b"Content-Type: \xff/\xfe; =;;", {200}),
    "odd cookies": (b"Cookie: \xff=\xfe; wick_login=\xff\xfe; =; ;", {200}),
    "an odd key": (b"Authorization: Bearer \xff\xfe", {200}),
    "no UTF-8 in languages": (b"Accept-Language: \xff;q=x", {200}),
    "an odd Accept": (b"Accept: \xff;q=x, */*;q=-1", {200}),
    "an odd encoding": (b"Accept-Encoding: \xff;q=x", {200}),
    "an odd time": (b"If-Modified-Since: \xff", {200}),
    "an odd range": (b"Range: bytes=-\xff", {200, 416}),
    "a foreign referer": (b"Referer: http://[\xff/", {200}),
    "an odd page of htmx": (b"HX-Request: true\r\nHX-Current-URL: http://[\xff", {200}),
    "a proxy's word": (b"X-Forwarded-For: \xff\r\nForwarded: for=\xff;;,", {403}),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/login", "/static/all.css"])
async def test_an_odd_header_breaks_nothing(
    wick: Wick, path: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    line, allowed = LINES[name]
    head = wick.head("GET", path).removesuffix(b"\r\n") + line + b"\r\n\r\n"
    assert await status_of(wick, head) in allowed | {200, 303, 404}
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "host", ["\xff", "[::1", "a b", "127.0.0.1:x", "http://127.0.0.1", "@", ""]
)
async def test_an_odd_host_breaks_nothing(
    wick: Wick, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin1")
    assert await status_of(wick, head) in {400, 403}
    assert not [record for record in caplog.records if record.exc_info]


async def test_an_odd_form_breaks_nothing(wick: Wick, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("charset=klingon", "charset=\xff", "boundary=\xff"):
        for mime in (
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/json",
        ):
            head = wick.head("POST", NAME, "Content-Length: 9").removesuffix(b"\r\n")
            head += f"Content-Type: {mime}; {kind}\r\n\r\n".encode("latin1")
            assert 400 <= await status_of(wick, head + b"title=\xff\xfe%") < 500
    assert not [record for record in caplog.records if record.exc_info]


async def test_closed_connections_do_not_count(tmp_path: Path) -> None:
    """Somebody who asks and closes, one after another, holds one at a time."""
    async with served(tmp_path, most_connections=3) as wick:
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", wick.port)
            writer.write(wick.head("GET", "/healthz"))
            assert (await reader.readline()).split()[1] == b"200"
            writer.close()
            await writer.wait_closed()
