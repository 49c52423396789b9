"""A Wick whose model another server holds."""

from __future__ import annotations

from typing import Protocol

from quart import Quart

from app.conversations.submission import Prompt
from app.db.messages import Message
from app.models.model import ModelSettings
from app.models.parameters import Sampling
from app.models.upstream import Upstream
from app.web.context import ServerContext
from tests.patience import until

CHAT = "0123456789abcdef"
GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0)


class Behind(Protocol):
    """The server with the model."""

    origin: str


class Front:
    """The Wick that people use. `far` is the model of the other server."""

    def __init__(self, app: Quart, upstream: Behind) -> None:
        self.app = app
        self.here: ServerContext = app.extensions["wick"]
        self.here.store.add_remote("far", [Upstream(upstream.origin + "/v1", "tiny")])
        self.here.pool.remotes.check_now()
        self.here.store.save_settings("far", ModelSettings(sampling=GREEDY))

    @property
    def window(self) -> int | None:
        """Tokens, as the other server has told."""
        remote = self.here.store.get("far").remote
        return remote.found if remote else None

    async def ask(self, text: str, client_id: str = "client01") -> int:
        await self.here.answers.submit(Prompt(1, CHAT, text, client_id, "far"))
        return (await self.path())[-1].id

    async def path(self) -> list[Message]:
        return await self.here.chats.messages(await self.here.chats.get(1, CHAT))

    async def writes(self, answer: int) -> None:
        await until(lambda: bool((s := self.here.hub.stream(answer)) and s.text))

    async def ended(self, answer: int) -> Message:
        await until(lambda: self.here.hub.stream(answer) is None)
        return next(message for message in await self.path() if message.id == answer)
