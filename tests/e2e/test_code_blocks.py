"""Blocks of code: wrapped, saved, seen as a page; and what runs in such a page reaches nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from playwright.async_api import Browser, expect

from tests.e2e.conftest import Meet
from tests.e2e.person import ChatPage
from tests.e2e.server import Server
from tests.long_chat import plant

LONG = "x = " + " + ".join(f"value_{n}" for n in range(60))
CODE = f"""
```python
{LONG}
{"y = 1" + chr(10) * 3}
{"z = 2" + chr(10) * 40}
```

```html
<button onclick="this.textContent = 'Pressed'">Press</button>
```

```svg
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="4"/></svg>
```
"""
RENDER_AGAIN = """async () => {
  const page = await (await fetch(location)).text();
  const log = new DOMParser().parseFromString(page, "text/html").getElementById("log");
  document.getElementById("log").innerHTML = log.innerHTML;
}"""
# Every way to a network, to the page around it and to what browsers keep that a script knows.
ATTACK = """
<link rel="preconnect" href="URL"><link rel="prefetch" href="URL/1"><link rel="preload" as="image"
href="URL/2"><link rel="stylesheet" href="URL/3"><link rel="dns-prefetch" href="//leak.invalid">
<style>@import url(URL/4); @font-face { font-family: f; src: url(URL/5) }
body { font-family: f; background: url(URL/6) }</style>
<img src="URL/7"><video src="URL/8"></video><script src="URL/9"></script>
<object data="URL/10"></object><embed src="URL/11"><iframe src="URL/12"></iframe>
<template shadowrootmode="closed"><iframe srcdoc="<script>new RTCPeerConnection</script>"></iframe>
</template><form action="URL/13" method="post"></form><a href="#x" ping="URL/14"></a>
<script>
window.results = {};
function attack(name, action) {
  try {
    const value = action();
    results[name] = value instanceof Promise ? "waits" : `got ${value}`;
    const keep = (outcome) => { results[name] = outcome; };
    if (value instanceof Promise) value.then((found) => keep(`got ${found}`), () => keep("no"));
  } catch { results[name] = "no"; }
}
attack("fetch", () => fetch("URL/20", {mode: "no-cors"}));
attack("own server", () => fetch("/chats/more", {mode: "no-cors", credentials: "include"}));
attack("request", () => {
  const request = new XMLHttpRequest;
  request.open("GET", "URL/21", false);
  request.send();
});
attack("import", () => import("URL/22"));
attack("peer", () => new RTCPeerConnection({iceServers: [{urls: "stun:ADDRESS"}]}));
attack("cookies", () => document.cookie);
attack("local storage", () => localStorage.length);
attack("session storage", () => sessionStorage.length);
attack("database", () => indexedDB.open("x"));
attack("caches", () => caches.keys());
attack("parent", () => parent.document.body.textContent);
attack("parent's place", () => { parent.location = "URL/23"; });
attack("top", () => top.location.href);
attack("shadow", () => document.body.attachShadow({mode: "closed"}));
new WebSocket("ws://ADDRESS"); new EventSource("URL/24"); navigator.sendBeacon("URL/25", "x");
window.results.popup = String(window.open("URL/26"));
document.forms[0].submit(); document.querySelector("a").click();
const frame = document.createElement("iframe");
frame.srcdoc = "<script>parent.postMessage('ran', '*')</scr" + "ipt>";
addEventListener("message", ({data}) => { results.frame = data; });
document.body.append(frame);
</script>"""


def say(server: Server, text: str) -> str:
    """A chat whose answer is this."""
    chat_id = plant(server.folder / "wick.db", 2, "Code")
    with closing(sqlite3.connect(server.folder / "wick.db", timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE messages SET text = ? WHERE chat_id = ? AND role = 'assistant'", (text, chat_id)
        )
    return chat_id


async def test_code_is_wrapped_saved_and_seen(server: Server, meet: Meet, tmp_path: Path) -> None:
    person = await meet(server, viewport={"width": 900, "height": 600})
    chat = await person.open(f"/chats/{say(server, CODE)}")
    block, page = chat.answer.locator(".code").first, chat.page
    sideways = "pre => pre.scrollWidth > pre.clientWidth"
    assert await block.locator("pre").evaluate(sideways)
    wrap = block.get_by_role("button", name="Wrap")
    await wrap.press("Enter")
    await expect(wrap).to_have_attribute("aria-pressed", "true")
    assert not await block.locator("pre").evaluate(sideways)
    # Its head stays at the top of the log while the block scrolls by.
    await block.evaluate("e => document.getElementById('scroll').scrollTop += 200"
        " + e.getBoundingClientRect().top")  # fmt: skip
    await expect(block.get_by_role("button", name="Copy")).to_be_in_viewport()
    async with page.expect_download() as coming:
        await block.get_by_role("button", name="Download").click()
    saved = await coming.value
    assert saved.suggested_filename == "code.py"
    await saved.save_as(tmp_path / "code.py")
    assert (tmp_path / "code.py").read_text().startswith(LONG)
    assert await block.get_by_role("button", name="Preview").count() == 0
    # A page and a drawing, one after the other; the code comes back.
    preview = chat.answer.get_by_role("button", name="Preview")
    await preview.first.press("Enter")
    await expect(chat.answer.locator("[data-artifact=html]")).to_have_attribute(
        "sandbox", "allow-scripts"
    )
    inside = page.frame_locator("[data-artifact=html]")
    await inside.get_by_role("button", name="Press").click()
    await expect(inside.get_by_role("button", name="Pressed")).to_be_visible()
    await preview.first.press("Enter")
    await expect(page.locator("[data-artifact]")).to_have_count(0)
    await expect(chat.answer.locator(".code").nth(1).locator("pre")).to_be_visible()
    await preview.last.click()
    await expect(page.frame_locator("[data-artifact=svg]").locator("circle")).to_be_visible()
    # Messages that are rendered anew keep what was switched in them.
    await page.evaluate(RENDER_AGAIN)
    await expect(chat.answer.locator(".code")).to_have_count(3)
    await expect(wrap).to_have_attribute("aria-pressed", "true")
    assert not await block.locator("pre").evaluate(sideways)
    await expect(page.frame_locator("[data-artifact=svg]").locator("circle")).to_be_visible()
    await expect(page.locator("[data-artifact]")).to_have_count(1)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Listen for TCP and UDP: the address, and what has come."""
    came = list[bytes]()

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            came.append(data)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(b"connection")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        datagrams, _ = await loop.create_datagram_endpoint(
            Datagrams, local_addr=("127.0.0.1", port)
        )
        yield f"127.0.0.1:{port}", came
        datagrams.close()


async def test_a_preview_reaches_neither_a_network_nor_the_page(
    server: Server, browser: Browser
) -> None:
    async with listening() as (address, came):
        attack = ATTACK.replace("URL", f"http://{address}").replace("ADDRESS", address)
        chat_id = say(server, f"```html\n{attack}\n```")
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{server.origin}/chats/{chat_id}")
        await page.evaluate("document.cookie = 'own=secret'; localStorage.own = 'secret'")
        await ChatPage(page).answer.get_by_role("button", name="Preview").click()
        await page.frame_locator("[data-artifact]").locator("form").wait_for(state="attached")
        frame = page.frames[1]
        waits = "Object.values(window.results ?? {a: 'waits'}).includes('waits')"
        while await frame.evaluate(waits):
            await page.evaluate("new Promise(requestAnimationFrame)")
        results = await frame.evaluate("results")
        assert len(results) >= 15
        assert {name: one for name, one in results.items() if one not in {"no", "null"}} == {}
        assert await frame.locator("iframe, object, embed").count() == 0
        assert await frame.evaluate("self.origin") == "null"
        # Last, to another place altogether: the page's own policy forbids that.
        await frame.evaluate(f"location.href = 'http://{address}/27'")
        while page.frames[1].url.startswith(server.origin):
            await page.evaluate("new Promise(requestAnimationFrame)")
        assert address not in page.frames[1].url
        assert came == []
        # By itself, as a page of its own, it is the same sandbox, and shows nothing.
        reply = await page.goto(f"{server.origin}/artifact")
        assert reply is not None
        assert await page.evaluate("self.origin") == "null"
        assert await page.inner_text("body") == ""
        await context.close()


async def test_other_sites_cannot_frame_a_preview(server: Server, browser: Browser) -> None:
    context = await browser.new_context()
    reply = await context.request.get(f"{server.origin}/artifact")
    assert "frame-ancestors 'self'" in reply.headers["content-security-policy"]
    assert reply.headers["content-security-policy"].startswith("sandbox allow-scripts;")
    assert reply.headers["x-frame-options"] == "SAMEORIGIN"
    page = await context.request.get(server.origin)
    host = server.origin.partition("//")[2]
    assert f"frame-src {host}/artifact;" in page.headers["content-security-policy"]
    await context.close()
