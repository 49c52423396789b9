from __future__ import annotations

import asyncio

from app.web.uploads import HELD, RoomyBody
from tests.patience import PATIENCE


async def test_a_sender_waits_until_its_bytes_are_taken() -> None:
    body = RoomyBody(None, None)
    body.append(bytes(HELD))
    await body.has_room()
    body.append(bytes(1))
    waiting = asyncio.create_task(body.has_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert len(await anext(body)) == HELD + 1
    async with asyncio.timeout(PATIENCE):
        await waiting
