from __future__ import annotations

import asyncio

from app.web.bodies import MAX_BUFFERED_BYTES, BackpressuredBody
from tests.patience import PATIENCE


async def test_a_sender_waits_until_its_bytes_are_taken() -> None:
    body = BackpressuredBody(None, None)
    body.append(bytes(MAX_BUFFERED_BYTES))
    await body.wait_for_room()
    body.append(bytes(1))
    waiting = asyncio.create_task(body.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert len(await anext(body)) == MAX_BUFFERED_BYTES + 1
    async with asyncio.timeout(PATIENCE):
        await waiting
