"""People who keep sending messages, and the record of what the server acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Origin

from tests.e2e.server import POLL, Server
from tests.patience import PATIENCE
from tests.prove.people import Login
from tests.prove.plan import MODEL

PAUSE_SECONDS: Final = 1.0
"""At most, between two prompts of one sender: whatever has been asked is waited for."""
ANSWER_SECONDS: Final = 20.0
"""After which a sender gives up: a server that was killed answers to nothing."""


@dataclass
class Senders:
    """Senders of prompts, some over sockets like pages, some over the API like programs.

    acknowledged: texts by their client ids; refused: statuses, and `no` of sockets.
    """

    server: Server
    logins: Sequence[Login]
    chance: random.Random
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Have everybody send until the block ends."""
        tasks = [asyncio.create_task(self._keep_sending(login)) for login in self.logins]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def send_one(self, login: Login) -> bool:
        """Send a prompt in a chat of its own and tell whether it was acknowledged."""
        return await self._send_in(login, secrets.token_hex(8))

    async def _keep_sending(self, login: Login) -> None:
        """Begin chats and go on with them."""
        chat_id = secrets.token_hex(8)
        while True:
            try:
                await self._send_in(login, chat_id)
            except (OSError, WebSocketException, httpx.HTTPError):
                await asyncio.sleep(POLL)
            await asyncio.sleep(self.chance.uniform(0, PAUSE_SECONDS))
            if self.chance.random() < 0.5:
                chat_id = secrets.token_hex(8)

    async def _send_in(self, login: Login, chat_id: str) -> bool:
        client_id, text = secrets.token_hex(16), f"Tell me about {secrets.token_hex(4)}."
        send = self.chance.choice((self._by_socket, self._by_api))
        refusal = await send(login, chat_id, client_id, text)
        if refusal:
            self.refused[refusal] += 1
        else:
            self.acknowledged[client_id] = text
        return not refusal

    async def _by_socket(self, login: Login, chat_id: str, client_id: str, text: str) -> str:
        """Submit a message like the page; return how it was refused, if it was."""
        origin = self.server.origin
        address = f"{origin.replace('http', 'ws')}/chats/{chat_id}/live"
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            connect(
                *(address,),
                origin=Origin(origin),
                additional_headers={"Cookie": login.headers["Cookie"]},
                proxy=None,
                max_size=None,
                close_timeout=0.1,
            ) as connection,
        ):
            await connection.send(
                json.dumps({"text": text, "client_id": client_id, "model": MODEL})
            )
            async for frame in connection:
                if f'data-for="{client_id}"' in str(frame):
                    is_accepted = f'data-for="{client_id}" data-accepted="yes"' in str(frame)
                    return "" if is_accepted else "no"
        return "closed"

    async def _by_api(self, login: Login, _chat_id: str, client_id: str, text: str) -> str:
        """Submit a message like a program, in a chat of its own."""
        body = {"text": text, "client_id": client_id, "model": MODEL}
        async with httpx.AsyncClient(
            base_url=self.server.origin, timeout=ANSWER_SECONDS, headers=login.headers
        ) as client:
            answer = await client.post("/api/v1/chats", json=body)
        return "" if answer.is_success else str(answer.status_code)


async def all_ended(server: Server) -> list[str]:
    """Return once no answer is on its way; what has not ended after the one patience."""
    try:
        async with asyncio.timeout(PATIENCE):
            while server.rows("SELECT 1 FROM messages WHERE status = 'queued'"):
                await asyncio.sleep(POLL)
    except TimeoutError:
        return ["answers that never end"]
    return []
