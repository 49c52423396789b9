"""When temporary chats end, by a clock of the test's own; and that they touch nobody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.config import Settings
from app.conversations.answer_state import MessageRef
from app.conversations.chats import new_chat_id
from app.conversations.settings import parse_stored
from app.conversations.submission import Prompt
from app.conversations.temporary import PROGRAM_SECONDS, TemporaryChats
from app.db import attachments, branches, chat_copies, temporary
from app.db.connection import open_database
from app.errors import AttachmentNotFound, ChatBusy, ChatNotFound
from app.inference import kv_files
from app.inference.process import RunnerProcess
from app.inference.protocol import DeleteCache, Delta, Generate
from app.models.model import Turn
from app.models.store import ModelStore
from app.services import Services
from tests.conversations.services import finished
from tests.inference.scripted import ScriptedRunner
from tests.media.samples import encoded
from tests.patience import until

USER, OTHER = 1, 2
GRACE = 120.0
CHAT, SAVED = new_chat_id(temporary=True), new_chat_id()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    services: Services
    runner: ScriptedRunner
    clock: Clock

    @property
    def chats(self) -> TemporaryChats:
        return self.services.temporary

    async def ask(self, chat_id: str = CHAT, user_id: int = USER) -> int:
        prompt = Prompt(user_id, chat_id, "a secret fox", "client01", "tiny")
        ref = await self.services.of(chat_id).answers.submit(prompt)
        await until(lambda: any(c.id == ref.answer_id for c in self.runner.sent))
        return ref.answer_id

    async def exists(self, chat_id: str = CHAT, user_id: int = USER) -> bool:
        return await self.chats.services.chats.get(user_id, chat_id) is not None

    async def after(self, seconds: float) -> None:
        self.clock.now += seconds
        await self.chats.sweep()


@pytest.fixture
async def stage(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    async with _built(tmp_path, store, monkeypatch.setattr) as stage:
        yield stage


@asynccontextmanager
async def _built(
    folder: Path, store: ModelStore, replace: Callable[..., None]
) -> AsyncIterator[Stage]:
    settings = Settings(
        data_dir=folder, models_dir=store.root, threads=1, temporary_grace=GRACE, titles="on"
    )
    runner = ScriptedRunner(slots=settings.slots)

    async def start(*_: object) -> ScriptedRunner:
        return runner

    replace(RunnerProcess, "start", start)
    async with open_database(settings.database) as db:
        services = Services(settings, db)
        async with services.open():
            clock = Clock()
            services.temporary._clock = clock
            yield Stage(services, runner, clock)


async def test_a_chat_ends_a_while_after_its_tab_and_runners_forget_it(stage: Stage) -> None:
    answer = await stage.ask()
    assert answer > temporary.FIRST_ID
    tab = stage.services.hub.subscribe(USER, CHAT)
    await stage.after(10 * GRACE)
    assert await stage.exists()
    stage.services.hub.unsubscribe(tab)
    await stage.after(GRACE - 1)
    assert await stage.exists()  # a reload comes back in time
    await stage.after(1)
    assert not await stage.exists()
    assert any(isinstance(c, DeleteCache) and c.chat == CHAT for c in stage.runner.commands)


async def test_a_program_has_an_hour_between_two_requests(stage: Stage) -> None:
    stage.chats.keep_for_program(CHAT)
    await stage.ask()
    await stage.after(PROGRAM_SECONDS - 1)
    stage.services.of(CHAT)
    await stage.after(PROGRAM_SECONDS - 1)
    assert await stage.exists()
    await stage.after(1)
    assert not await stage.exists()


async def test_files_of_a_program_stay_until_its_chat_begins(stage: Stage) -> None:
    stage.chats.keep_files_for_program()
    file = await stage.chats.services.attachments.add(USER, "notes.txt", b"a secret fox")
    await stage.after(PROGRAM_SECONDS - 1)
    assert (await stage.chats.services.attachments.get(USER, file.id)).name == "notes.txt"
    await stage.after(1)
    with pytest.raises(AttachmentNotFound):
        await stage.chats.services.attachments.get(USER, file.id)


async def test_what_is_on_the_disk_knows_nothing_of_it(stage: Stage) -> None:
    await stage.ask()
    assert await stage.services.chats.recent(USER) == []
    prompt = Prompt(USER, CHAT, "a secret fox", "client02", "tiny")
    with pytest.raises(ChatNotFound):  # a mistake of ours must not write it down
        await stage.services.answers.submit(prompt)
    with pytest.raises(ChatNotFound):
        await stage.services.chats.get(USER, CHAT)
    with pytest.raises(ChatNotFound):
        await stage.chats.services.chats.get(USER, SAVED)


async def test_nobody_else_reaches_it_and_who_leaves_takes_only_their_own(stage: Stage) -> None:
    other = new_chat_id(temporary=True)
    await stage.ask()
    await stage.ask(other, OTHER)
    with pytest.raises(ChatNotFound):
        await stage.chats.services.chats.get(OTHER, CHAT)
    await stage.chats.end_all(USER)
    assert not await stage.exists()
    assert await stage.exists(other, OTHER)


def test_its_states_have_keys_that_say_so() -> None:
    assert kv_files.is_memory_only(kv_files.chat_key(CHAT))
    assert not kv_files.is_memory_only(kv_files.chat_key(SAVED))
    assert not kv_files.is_memory_only(kv_files.chat_key(""))


async def test_a_temporary_chat_knows_what_its_user_says_of_themselves(stage: Stage) -> None:
    await stage.services.chats.save_about(USER, "I am a nurse.")
    answer = await stage.ask()
    command = next(c for c in stage.runner.sent if c.id == answer)
    assert isinstance(command, Generate)
    assert command.turns[0] == Turn("system", "I am a nurse.")
    await stage.ask(user_id=OTHER, chat_id=new_chat_id(temporary=True))
    command = stage.runner.sent[-1]
    assert isinstance(command, Generate)
    assert [turn.role for turn in command.turns] == ["user"]


async def test_pictures_are_in_memory_alone_and_end_with_their_chat(
    stage: Stage, tmp_path: Path
) -> None:
    chats = stage.chats.services
    file = await chats.attachments.add(USER, "a.png", encoded())
    prompt = Prompt(USER, CHAT, "look", "client01", "tiny", attachments=(file.id,))
    await stage.services.of(CHAT).answers.submit(prompt)
    path = chats.pictures.files.path(file.digest, file.media_type)
    assert path is not None
    assert path.read_bytes() == await chats.attachments.picture(file)
    assert not (tmp_path / "pictures").exists()
    await stage.after(GRACE + 1)
    assert chats.pictures.files.digests() == set()
    assert not path.exists()


async def test_a_chat_that_is_kept_has_all_branches_settings_and_files(
    stage: Stage, tmp_path: Path
) -> None:
    chats, saved = stage.chats.services, stage.services.saved
    picture = await chats.attachments.add(USER, "a.png", encoded())
    notes = await chats.attachments.add(USER, "notes.txt", b"about foxes")
    await chats.chats.choose_settings(USER, CHAT, parse_stored('{"temperature": 0.5}'))
    prompt = Prompt(USER, CHAT, "look", "client01", "tiny", attachments=(picture.id, notes.id))
    ref = await chats.answers.submit(prompt)
    await until(lambda: any(c.id == ref.answer_id for c in stage.runner.sent))
    with pytest.raises(ChatBusy, match="being written"):
        await stage.services.kept.keep(USER, CHAT)
    assert await stage.exists()
    stage.runner.say(Delta(ref.answer_id, "A fox"), finished(ref.answer_id))
    await until(lambda: stage.services.hub.stream(ref.answer_id) is None)
    at = MessageRef(USER, CHAT, ref.answer_id)
    again = await chats.branches.regenerate(at, "client02")
    await until(lambda: any(c.id == again.answer_id for c in stage.runner.sent))
    stage.runner.say(Delta(again.answer_id, "A dog"), finished(again.answer_id))
    await until(lambda: stage.services.hub.stream(again.answer_id) is None)
    with pytest.raises(ChatNotFound):
        await stage.services.kept.keep(OTHER, CHAT)

    kept = await stage.services.kept.keep(USER, CHAT)
    assert not await stage.exists()
    chat = await saved.chats.get(USER, kept)
    assert chat is not None
    assert (chat.title, chat.model, chat.deleted_at) == ("look", "tiny", None)
    assert await saved.chats.settings(USER, kept) == parse_stored('{"temperature": 0.5}')
    path = await saved.chats.messages(chat)
    assert [m.text for m in path] == ["look", "A dog"]
    every = [m.text async for p in branches.pages(saved.chats._db, USER, kept) for m in p]
    assert every == ["look", "A fox", "A dog"]
    assert [file.name for file in path[0].attachments] == ["a.png", "notes.txt"]
    assert await saved.attachments.picture(path[0].attachments[0])
    texts = await attachments.texts(saved.chats._db, USER, [path[0].attachments[1].id])
    assert list(texts.values()) == ["about foxes"]
    assert chats.pictures.files.digests() == set()
    # Its title is asked for now: a temporary chat has only its first words.
    await until(lambda: any(c.id == -path[1].id for c in stage.runner.sent))


async def test_a_chat_that_could_not_be_kept_stays_temporary(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await stage.ask()
    stage.runner.say(Delta(answer, "A fox"), finished(answer))
    await until(lambda: stage.services.hub.stream(answer) is None)

    async def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(chat_copies, "add_tree", fail)
    with pytest.raises(Exception, match="disk"):
        await stage.services.kept.keep(USER, CHAT)
    chat = await stage.chats.services.chats.get(USER, CHAT)
    assert chat is not None
    assert chat.deleted_at is None
    assert await stage.services.chats.recent(USER) == []
    with pytest.raises(ChatNotFound):
        await stage.services.kept.keep(USER, new_chat_id(temporary=True))
