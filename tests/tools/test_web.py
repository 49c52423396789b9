"""Web pages and web search as models get them: from the internet, and from the owner's SearXNG."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.documents.reader import DocumentReader
from app.models.install import http_client
from app.tools.builtin import BuiltinTools
from app.tools.tool import ToolContext, ToolResult
from app.tools.web import EXCERPT_CHARS, RESULTS
from tests.inference.remote.stub import Call, Stub, serving

FILES = Path(__file__).parents[1] / "documents/files"
ME = ToolContext(1, "0" * 16)
HTML = "<title>Foxes</title><script>var x = 'secret'</script><h1>Foxes</h1><p>They <b>jump</b>.</p>"
NAMES = {"public.example": "127.0.0.1", "inside.example": "10.1.2.3", "meta.example": "169.254.0.1"}


@pytest.fixture(autouse=True)
def internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub is the internet: of all addresses 127.0.0.1 alone counts as public, by its name."""
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    usual = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: int, **more: int) -> list[object]:
        if host not in NAMES:
            return list(usual(host, port, *rest, **more))
        return [(0, 0, 0, "", (NAMES[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(http_client, "is_public", lambda address: address == "127.0.0.1")


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving(site) as server:
        yield server


async def answer(call: Call, kind: str, body: bytes, status: int = 200) -> None:
    await call.head(status, {"Content-Type": kind, "Content-Length": str(len(body))})
    await call.raw(body)


async def site(call: Call) -> None:
    port = call.headers["host"].partition(":")[2]
    redirects = {
        "/inside": "https://inside.example/x",
        "/meta": "https://meta.example/latest/meta-data/",
        "/here": f"http://127.0.0.1:{port}/page",
        "/plain-http": "http://other.example/",
        "/loop": f"https://127.0.0.1:{port}/loop",
        "/nowhere": "https://a..b/",
        "/file": "file:///etc/passwd",
    }
    match call.path:
        case path if path in redirects:
            await call.head(302, {"Location": redirects[path]})
        case "/page":
            await answer(call, "text/html; charset=utf-8", HTML.encode())
        case "/latin":
            await answer(
                call, "text/html; charset=ISO-8859-1", "<p>Käse für Öl</p>".encode("latin-1")
            )
        case "/text":
            await answer(call, "text/plain; charset=windows-1252", "Käse “für” Öl".encode("cp1252"))
        case "/odd-charset":
            await answer(call, "text/plain; charset=klingon", "Käse".encode())
        case "/json":
            await answer(call, "application/json", b'{"fox": "red"}')
        case "/report":
            await answer(call, "application/pdf", (FILES / "report.pdf").read_bytes())
        case "/picture.png":
            await answer(call, "image/png", b"\x89PNG\r\n\x1a\n" + bytes(100))
        case "/broken":
            await answer(call, "application/pdf", b"%PDF-1.7 and then nothing of the kind")
        case "/empty":
            await answer(call, "text/html", b"")
        case "/flood":
            await call.head(200, {"Content-Type": "text/html"})
            while True:
                await call.raw(b"x" * 65_536)
        case "/lie":
            await call.head(200, {"Content-Type": "text/html", "Content-Length": "999"})
            await call.raw(b"<p>short")
        case "/hang":
            await call.head(200, {"Content-Type": "text/html"})
            await call.gone.wait()
        case _:
            await answer(call, "text/html", b"<p>no such page", 404)


def tools_of(**settings: Any) -> BuiltinTools:
    return BuiltinTools(Settings(**settings), DocumentReader())


async def read(stub: Stub, path: str) -> ToolResult:
    address = stub.url.removesuffix("/v1").replace("127.0.0.1", "public.example")
    return await tools_of(read_web_pages=True).call(ME, "read_web_page", {"url": address + path})


async def test_the_web_is_off_until_its_owner_allows_it() -> None:
    async def names(**settings: Any) -> set[str]:
        return {tool.spec.name for tool in await tools_of(**settings).tools(ME)}

    assert await names() == {"current_time", "calculator"}
    assert await names(read_web_pages=True) == {"current_time", "calculator", "read_web_page"}
    assert "web_search" in await names(searxng="http://127.0.0.1:8888")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/page", "They **jump**."),
        ("/latin", "Käse für Öl"),
        ("/text", "Käse “für” Öl"),
        ("/odd-charset", "Käse"),
        ("/json", '{"fox": "red"}'),
        ("/report", "burns 17 litres"),
    ],
)
async def test_pages_and_documents_become_text(stub: Stub, path: str, wanted: str) -> None:
    found = await read(stub, path)
    assert not found.is_error, found.text
    assert wanted in found.text
    assert "secret" not in found.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/inside", "inside.example is on the server's private network"),
        ("/meta", "meta.example is on the server's private network"),
        ("/here", "redirects to this machine; refused"),
        ("/plain-http", "an address that is not https: http://other.example"),
        ("/nowhere", "Can't reach a..b"),
        ("/file", "not https: file://"),
        ("/missing", "public.example answers with the error 404."),
        ("/picture.png", "picture.png"),
        ("/broken", "is damaged"),
        ("/empty", "empty"),
        ("/flood", "sends more than Wick reads"),
        ("/lie", "The connection to public.example broke."),
    ],
)
async def test_what_is_no_page_is_a_sentence(stub: Stub, path: str, words: str) -> None:
    found = await read(stub, path)
    assert found.is_error
    assert words in found.text
    assert "kept" not in found.text
    assert len(found.text) < 300


@pytest.mark.parametrize(
    "url",
    [
        *("", "public.example", "file:///etc/passwd", "ftp://public.example/", "https://"),
        *("http://a..b/", "https://exa mple.com", f"https://public.example/{'x' * 5000}"),
        *("http://inside.example/", "http://[::1]/", "http://0.0.0.0/", "http://10.0.0.1/"),
        *("http://169.254.169.254/", "http://user:word@inside.example/", "http://2852039166/"),
    ],
)
async def test_what_is_no_address_of_the_internet_is_asked_for_nothing(url: str) -> None:
    found = await tools_of(read_web_pages=True).call(ME, "read_web_page", {"url": url})
    assert found.is_error
    assert found.text.startswith(("Give one address", "The address can't be read"))


async def test_this_machine_is_no_part_of_the_internet(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    tools = tools_of(read_web_pages=True)
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
        url = stub.url.removesuffix("/v1").replace("127.0.0.1", host) + "/page"
        assert (await tools.call(ME, "read_web_page", {"url": url})).is_error
    assert stub.calls == []


async def test_a_page_that_hangs_is_left_when_its_call_ends(stub: Stub) -> None:
    reading = asyncio.create_task(read(stub, "/hang"))
    call = await stub.called()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await call.gone.wait()


# Web search.


async def search(
    body: object, query: object = "red  foxes", status: int = 200, raw: bytes | None = None
) -> tuple[ToolResult, list[str]]:
    """The result, and the addresses that were asked for."""

    async def script(call: Call) -> None:
        if raw is None:
            await call.json(body, status)
        else:
            await answer(call, "text/html", raw, status)

    async with serving(script) as stub:
        tools = tools_of(searxng=stub.url.removesuffix("/v1") + "/")
        found = await tools.call(ME, "web_search", {"query": query})
        return found, [call.path for call in stub.calls]


def hit(number: int, **more: object) -> Mapping[str, object]:
    return {"title": f"Fox {number}", "url": f"https://fox.example/{number}", **more}


async def test_a_search_gives_titles_addresses_and_excerpts() -> None:
    hits = [hit(n, content="long " * 500 if n else None, engine="x") for n in range(20)]
    found, asked = await search({"query": "x", "results": hits, "unresponsive_engines": []})
    assert not found.is_error
    assert asked == ["/search?format=json&q=red%20foxes"]
    entries = found.text.split("\n\n")
    assert entries[0] == "Fox 0\nhttps://fox.example/0"
    assert len(entries) == RESULTS
    assert len(entries[1]) < EXCERPT_CHARS + 50
    assert (await search({"results": []}))[0] == ToolResult("Nothing was found.")
    odd = {"results": [{"title": None, "url": None, "content": None}, hit(1)]}
    assert "Fox 1" in (await search(odd))[0].text
    assert (await search({"results": []}, {"a": "b&c=d"}))[1] == [
        "/search?format=json&q=%7B%22a%22%3A%20%22b%26c%3Dd%22%7D"
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"raw": b"<html>No JSON here"}, "can't be read"),
        ({"raw": b""}, "can't be read"),
        ({"raw": b'{"results": [{"title": "\xff"}]}'}, "can't be read"),
        ({"body": {"results": {"a": 1}}}, "can't be read"),
        ({"body": {"results": [5]}}, "can't be read"),
        ({"body": [], "status": 403}, "does not answer in JSON"),
        ({"body": [], "status": 500}, "answers with the error 500"),
        ({"body": {"results": [{"title": "x" * 3_000_000}]}}, "more than Wick reads"),
        ({"query": "   "}, "Give a few words"),
        ({"query": "x" * 401}, "Give a few words"),
    ],
)
async def test_a_search_that_fails_says_why(given: dict[str, Any], words: str) -> None:
    found, asked = await search(**({"body": {}} | given))
    assert found.is_error
    assert words in found.text
    assert len(asked) == ("query" not in given)


async def test_a_search_engine_that_is_not_there_is_a_sentence() -> None:
    async with serving() as stub:
        address = stub.url.removesuffix("/v1")
    found = await tools_of(searxng=address).call(ME, "web_search", {"query": "foxes"})
    assert found.is_error
    assert "Can't reach 127.0.0.1" in found.text
