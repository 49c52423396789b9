"""The services on a real database and the real hub; the runner says what the test tells it to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config import Settings
from app.conversations.answers import AnswerService
from app.conversations.attachments import Attachments
from app.conversations.branches import Branches
from app.conversations.chats import ChatService
from app.conversations.hub import Hub
from app.conversations.pictures import Pictures
from app.conversations.quotas import Quotas
from app.conversations.submission import Prompt
from app.db.connection import Database, open_database
from app.db.messages import Message
from app.inference.protocol import Finished
from app.inference.worker_pool import WorkerPool
from app.models.store import ModelStore
from app.services import Services
from app.tools.toolbox import Toolbox
from tests.inference.scripted import ScriptedRunner
from tests.patience import until

CHAT, OTHER = "0123456789abcdef", "fedcba9876543210"


@dataclass
class ScriptedServices:
    """The services of a server, with the runner that will be loaded."""

    db: Database
    hub: Hub
    pool: WorkerPool
    chats: ChatService
    answers: AnswerService
    branches: Branches
    quotas: Quotas
    runner: ScriptedRunner
    attachments: Attachments
    pictures: Pictures
    folder: Path
    toolbox: Toolbox

    def prompt(self, text: str = "hello", client_id: str = "client01", chat: str = CHAT) -> Prompt:
        return Prompt(user_id=1, chat_id=chat, text=text, client_id=client_id, model="tiny")

    async def path(self, chat_id: str = CHAT) -> list[Message]:
        return await self.chats.messages(await self.chats.get(1, chat_id))

    async def ask(self, text: str = "hello", client_id: str = "client01", chat: str = CHAT) -> int:
        """Submit, and wait until the runner has the request. The answer's id."""
        await self.answers.submit(self.prompt(text, client_id, chat))
        answer = (await self.path(chat))[-1].id
        await until(lambda: any(c.id == answer for c in self.runner.sent))
        return answer

    async def ended(self, answer_id: int) -> Message:
        await until(lambda: self.hub.stream(answer_id) is None)
        for chat in await self.chats.recent(1):
            for message in await self.path(chat.id):
                if message.id == answer_id:
                    return message
        raise AssertionError("the answer is gone")


@asynccontextmanager
async def built(
    tmp_path: Path, store: ModelStore, clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[ScriptedServices]:
    values = Settings(data_dir=tmp_path, models_dir=store.root, threads=1, **settings)
    async with open_database(values.database) as db:
        wick = Services(values, db, clock)
        runner = ScriptedRunner(slots=values.slots)
        await wick.quotas.load()
        yield ScriptedServices(
            *(
                db,
                wick.hub,
                wick.pool,
                wick.chats,
                wick.answers,
                wick.branches,
                wick.quotas,
                runner,
            ),
            *(wick.attachments, wick.pictures, tmp_path / "pictures", wick.toolbox),
        )
        wick.answers.close()
        await wick.pool.close("Wick was stopped.")
        await asyncio.gather(wick.answers.tasks.drain(5), wick.quotas.tasks.drain(5))


def finished(number: int, reason: str = "stop") -> Finished:
    return Finished(number, reason, 9, 4, 2, 0.1, 0.1, 0)  # type: ignore[arg-type]
