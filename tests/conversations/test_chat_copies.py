"""Chats that branch off: what they take along, and what a failure leaves."""

from __future__ import annotations

import sqlite3

import pytest

from app.conversations.answer_state import MessageRef
from app.conversations.chat_copies import ChatCopies, branch_title
from app.conversations.imports.imports import Imports
from app.conversations.settings import parse_stored
from app.db import chat_copies, import_holders
from app.errors import ChatBusy, ChatNotFound, MessageNotFound
from app.inference.protocol import Delta
from app.models.model import Turn
from tests.conversations.services import CHAT, OTHER, ScriptedServices, finished
from tests.conversations.test_branches import answered, last_command, talk
from tests.patience import until


def at(message_id: int, user_id: int = 1, chat_id: str = CHAT) -> MessageRef:
    return MessageRef(user_id, chat_id, message_id)


async def test_a_branch_begins_as_its_chat_does(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"), ("two", "due"), ("three", "tre"))
    chosen = parse_stored('{"temperature": 0.5}')
    await services.chats.choose_settings(1, CHAT, chosen)
    await services.chats.rename(1, CHAT, "Numbers")
    copy = await ChatCopies(services.db, services.hub).branch_off(at(ids[3]))
    chat = await services.chats.get(1, copy)
    assert chat is not None
    assert (chat.title, chat.model) == ("Numbers (branch)", "tiny")
    assert await services.chats.settings(1, copy) == chosen
    assert [m.text for m in await services.path(copy)] == ["one", "uno", "two", "due"]
    assert [m.created_at for m in await services.path(copy)] == [
        m.created_at for m in (await services.path())[:4]
    ]
    # The prompt begins as the other chat's did, so the KV cache has it.
    await services.ask("vier", "client99", copy)
    turns = [("user", "one"), ("assistant", "uno"), ("user", "two"), ("assistant", "due")]
    assert last_command(services).turns == tuple(Turn(*t) for t in [*turns, ("user", "vier")])  # type: ignore[arg-type]
    answer = last_command(services).id
    services.runner.say(Delta(answer, "quattro"), finished(answer))
    await until(lambda: services.hub.stream(answer) is None)
    assert [m.text for m in await services.path()] == ["one", "uno", "two", "due", "three", "tre"]


async def test_only_what_is_whole_and_ones_own_is_copied(services: ScriptedServices) -> None:
    copies = ChatCopies(services.db, services.hub)
    await services.ask("one", "client01")
    running = (await services.path())[-1].id
    with pytest.raises(ChatBusy):
        await copies.branch_off(at(running))
    answer = await answered(services, "uno")
    for ref, error in (
        (at(answer, user_id=2), ChatNotFound),
        (at(answer, chat_id=OTHER), ChatNotFound),
        (at(999), MessageNotFound),
    ):
        with pytest.raises(error):
            await copies.branch_off(ref)
    assert len(await services.chats.recent(1)) == 1


async def test_nothing_is_left_of_a_copy_that_failed(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await talk(services, ("one", "uno"))

    async def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(chat_copies, "add_messages", fail)
    with pytest.raises(Exception, match="disk"):
        await ChatCopies(services.db, services.hub).branch_off(at(ids[1]))
    assert await import_holders.unfinished(services.db) == []
    rows = await services.db.fetch_all("SELECT id FROM chats")
    assert [row["id"] for row in rows] == [CHAT]


async def test_tidying_up_spares_a_copy_that_is_being_made(services: ScriptedServices) -> None:
    holder = await services.db.write(lambda c: import_holders.add(c, 1))
    import_holders.being_filled(services.db).add(holder)
    await Imports(services.db, services.hub).finish()
    assert await import_holders.unfinished(services.db) == [(holder, False)]
    import_holders.being_filled(services.db).discard(holder)
    await Imports(services.db, services.hub).finish()
    assert await import_holders.unfinished(services.db) == []


def test_branches_are_named_after_their_chat() -> None:
    assert branch_title("Foxes") == "Foxes (branch)"
    assert branch_title("Foxes (branch)") == "Foxes (branch 2)"
    assert branch_title("Foxes (branch 2)") == "Foxes (branch 3)"
    assert len(branch_title("x" * 200)) <= 200
