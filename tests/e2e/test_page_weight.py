"""What a page costs to load, and that it needs nothing but its own server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Route, expect

from tests.e2e.conftest import TINY, Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

MOST_BYTES, MOST_REQUESTS = 120_000, 10


async def test_a_chat_of_100_messages_is_light(server: Server, meet: Meet) -> None:
    chat_id = plant(server.folder / "wick.db", 100)
    person = await meet(server)
    page = await person.window()
    session = await person.context.new_cdp_session(page)
    addresses: list[str] = []
    sizes: list[int] = []

    def asked(event: dict[str, Any]) -> None:
        addresses.append(event.get("url") or event["request"]["url"])

    session.on("Network.requestWillBeSent", asked)
    session.on("Network.webSocketCreated", asked)
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    session.on(
        "Network.webSocketFrameReceived",
        lambda event: sizes.append(len(event["response"]["payloadData"])),
    )
    await session.send("Network.enable")
    await page.goto(f"{server.origin}/chats/{chat_id}", wait_until="networkidle")
    await expect(ChatPage(page).answer).to_contain_text("point 100")
    origins = {urlsplit(address).netloc for address in addresses if "data:" not in address}
    assert origins == {urlsplit(server.origin).netloc}
    print(f"{sum(sizes)} bytes in {len(addresses)} requests")
    assert len(addresses) <= MOST_REQUESTS, addresses
    assert sum(sizes) <= MOST_BYTES


async def test_everything_works_without_any_network_but_the_server(
    server: Server, meet: Meet
) -> None:
    person = await meet(server)
    own, others = urlsplit(server.origin).netloc, list[str]()

    async def pass_or_abort(route: Route) -> None:
        if urlsplit(route.request.url).netloc == own:
            await route.continue_()
        else:
            others.append(route.request.url)
            await route.abort()

    await person.context.route("**/*", pass_or_abort)
    chat = await person.open()
    text = "![](https://elsewhere.example/a.png) <img src=//elsewhere.example/b.png>"
    await chat.ask(text, TINY)
    await chat.ends()
    await chat.reload()
    await chat.open_menu()
    await chat.page.get_by_role("button", name="Keyboard shortcuts").click()
    await chat.page.keyboard.press("Escape")
    await chat.page.goto(f"{server.origin}/status")
    await expect(chat.page.get_by_role("heading", name=TINY)).to_be_visible()
    assert others == []
