"""What a server takes of the processor while tabs are open and nobody does anything.

`.venv/bin/python -m tests.bench.idle --tabs 50 --seconds 60`: a server in a process of its own,
real WebSockets of the page of a new chat that answer its pings, and the CPU time of the server with
all its children from `/proc`. Wants a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from tests.e2e.server import Server

SETTLE_SECONDS: Final = 90.0
"""After which the server has done what it does once, and takes its tabs for idle."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of all its children, those that have ended included."""
    process = psutil.Process(pid)
    total = float(sum(process.cpu_times()[:4]))
    for child in process.children(recursive=True):
        total += sum(child.cpu_times()[:2])
    return total


async def read(socket: ClientConnection) -> int:
    """Count what a tab hears."""
    count = 0
    async for _ in socket:
        count += 1
    return count


async def open_tabs(stack: AsyncExitStack, origin: str, count: int) -> list[asyncio.Task[int]]:
    """Open the sockets of as many tabs, each as its page says."""
    async with httpx.AsyncClient(base_url=origin) as client:
        page = (await client.get("/")).raise_for_status().text
    found = re.search(r'hx-ws:connect="([^"]+)"', page)
    assert found, page
    address = origin.replace("http", "ws", 1) + found[1].replace("&amp;", "&")
    sockets = [
        await stack.enter_async_context(connect(address, origin=Origin(origin)))
        for _ in range(count)
    ]
    return [asyncio.create_task(read(socket)) for socket in sockets]


async def measure(tabs: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), Path(folder) / "models", accounts="off", titles="off")
        await server.start()
        try:
            async with AsyncExitStack() as stack:
                readers = await open_tabs(stack, server.origin, tabs)
                await asyncio.sleep(SETTLE_SECONDS)
                before = cpu_seconds(server.pid)
                await asyncio.sleep(seconds)
                used = cpu_seconds(server.pid) - before
            heard = sum(await asyncio.gather(*readers))
        finally:
            await server.stop()
    share = 100 * used / seconds
    print(
        f"{tabs} idle tabs for {seconds:.0f} s: {used:.2f} s of CPU, {share:.2f} % of a core",
        end="",
    )
    print(f"; frames heard: {heard}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tabs", type=int, nargs="+", default=[0, 50])
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    for tabs in arguments.tabs:
        asyncio.run(measure(tabs, arguments.seconds))


if __name__ == "__main__":
    main()
