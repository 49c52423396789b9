"""Whoever leaves leaves nothing: no row, no byte of the database file, no KV state, no copy."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from app.accounts.api_keys import ApiKeys
from app.accounts.sessions import Sessions
from app.accounts.users import Users
from app.config import Settings
from app.conversations.account_deletion import AccountDeletion, erase_user
from app.conversations.answer_state import MessageRef
from app.conversations.chats import Trash
from app.conversations.settings import ChatSettings
from app.db import chats, identities, one_time_codes, passkeys, search, users
from app.db.identities import LinkedIdentity
from app.db.passkeys import NewPasskey
from app.inference.kv_files import SUFFIX, chat_key
from app.inference.protocol import DeleteCache, Delta, Finished, Generate
from app.inference.queue import Request, RequestEvent
from tests.conversations.services import CHAT, OTHER, ScriptedServices, finished
from tests.patience import PATIENCE, until

WORDS = ("quicksilver", "marzipan", "heliotrope", "tamarind", "bergamot")
BYSTANDER = "00000000000000aa"


def files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("wick.db*")))


def rows_that_hold(database: Path, *values: object) -> list[str]:
    """Tables in which any of these values is left, wherever it stands."""
    with closing(sqlite3.connect(database)) as db:
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = []
        for table in tables:
            for row in db.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                if any(value in row for value in values) or any(
                    str(value) in cell for value in values for cell in row if isinstance(cell, str)
                ):
                    found.append(table)
    return found


def plant(settings: Settings, chat_id: str) -> Path:
    """A snapshot of a chat's KV state, as a runner leaves it."""
    path = settings.kv_folder / "somemodel" / f"{chat_key(chat_id)}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"state")
    return path


def settings_of(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, models_dir=tmp_path, threads=1)


@pytest.fixture
async def leaving_user(services: ScriptedServices, tmp_path: Path) -> int:
    """With everything that one can have, an answer that is being written included."""
    here = Users(services.db, Sessions(services.db))
    await services.db.write(lambda c: users.set_password(c, 1, "x"))
    user = await here.add("Quentin", None, "member")
    await Sessions(services.db).create(user.id, "Firefox on Marzipan", "192.0.2.77")
    await here.invite("member", user.id)
    linked = LinkedIdentity("proxy", "quentin@example.org", user.id, "Quentin", 1.0)
    await services.db.write(lambda c: identities.add(c, linked))
    await services.db.write(lambda c: one_time_codes.add(c, user.id, "MARZIPAN" * 4, 1.0, 0))
    hashes = [b"quicksilver"]
    await services.db.write(lambda c: one_time_codes.replace_recovery_codes(c, user.id, hashes))
    key = NewPasskey(user.id, b"1", b"2", b"3", "localhost", 0, "Marzipan", 1.0)
    await services.db.write(lambda c: passkeys.add(c, key, 9))
    await ApiKeys(services.db).add(user.id, "An editor", ["chat"])
    await services.chats.save_about(user.id, WORDS[0])
    await services.chats.choose_settings(user.id, "1" * 16, ChatSettings(system_prompt=WORDS[0]))

    async def ask(text: str, number: int, chat: str) -> int:
        prompt = replace(services.prompt(text, f"client{number:02}", chat), user_id=user.id)
        await services.answers.submit(prompt)
        chat_now = await services.chats.get(user.id, chat)
        answer = (await services.chats.messages(chat_now))[-1].id
        await until(lambda: any(c.id == answer for c in services.runner.sent))
        return answer

    first = await ask(f"about {WORDS[1]}", 1, CHAT)
    services.runner.say(Delta(first, WORDS[2]), finished(first))
    await until(lambda: services.hub.stream(first) is None)
    await services.branches.remove(MessageRef(user.id, CHAT, first))
    running = await ask(f"and {WORDS[3]}", 2, OTHER)
    services.runner.say(Delta(running, WORDS[4]))
    await until(lambda: bool(rows_that_hold(tmp_path / "wick.db", WORDS[4])))
    await services.db.write(lambda c: chats.put_share(c, user.id, OTHER, b"hash", 1.0))
    await services.db.write(lambda c: users.add_usage(c, user.id, "2026-11-25", 7))
    await services.answers.submit(services.prompt("hello", "client77", BYSTANDER))
    for ending in ("before-6", "schema-26.2026-11-20-101500", "copy.part"):
        (tmp_path / f"wick.db.{ending}").write_bytes(WORDS[1].encode())
    return user.id


async def test_nothing_is_left_of_a_deleted_user(
    services: ScriptedServices, leaving_user: int, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    gone, kept = [plant(settings, chat) for chat in (CHAT, OTHER)], plant(settings, BYSTANDER)
    assert set(rows_that_hold(tmp_path / "wick.db", leaving_user, CHAT, OTHER, *WORDS)) >= {
        *("users", "chats", "messages", "checkpoints", "removals", "chat_settings", "preferences"),
        *("logins", "invites", "api_keys", "usage", "shares", "identities"),
    }
    here = Users(services.db, Sessions(services.db))
    deletion = AccountDeletion(settings, services.db, services.answers, services.pool, services.hub)
    await here.mark_for_deletion(leaving_user)
    task = asyncio.create_task(deletion.complete(leaving_user))
    (running,) = [s.message_id for s in services.hub._streams.values() if s.user_id == leaving_user]
    await until(lambda: any(c.id == running for c in services.runner.sent if not is_generate(c)))
    assert not task.done()  # until the runner has stopped
    services.runner.say(finished(running, "cancelled"))
    await task
    traces = (leaving_user, CHAT, OTHER, "1" * 16, "Quentin", "192.0.2.77", *WORDS)
    assert rows_that_hold(tmp_path / "wick.db", *traces) == []
    raw = files_of(tmp_path)
    assert [word for word in WORDS if word.encode() in raw] == []
    assert b"Quentin" not in raw
    assert b"192.0.2.77" not in raw
    assert not any(path.exists() for path in gone)
    assert kept.exists()
    forgotten = {c.chat for c in services.runner.commands if isinstance(c, DeleteCache)}
    assert forgotten >= {CHAT, OTHER}
    assert DeleteCache(owner=str(leaving_user)) in services.runner.commands
    assert BYSTANDER not in forgotten
    assert not list(tmp_path.glob("wick.db.*"))
    assert await services.chats.get(1, BYSTANDER)
    with closing(sqlite3.connect(tmp_path / "wick.db")) as db:
        for index in ("titles_index", "messages_index"):
            db.execute(f"INSERT INTO {index} ({index}) VALUES ('integrity-check')")  # noqa: S608
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_no_word_is_left_of_a_chat_that_leaves_the_trash(
    services: ScriptedServices, tmp_path: Path
) -> None:
    answer = await services.ask("about zyxquill", chat=CHAT)
    services.runner.say(finished(answer))
    await services.ended(answer)
    other = await services.ask("about zephyr", chat=OTHER)
    services.runner.say(finished(other))
    await services.ended(other)
    trash = Trash(services.db, services.pool, services.hub)
    await services.chats.delete(1, CHAT)
    await trash.remove(1, CHAT)
    await trash.purge()
    assert b"zyxquill" not in files_of(tmp_path)
    found = await search.messages(services.db, 1, search.SearchQuery(("zephyr",)), 9)
    assert [hit.chat_id for hit in found] == [OTHER]


def is_generate(command: Any) -> bool:
    return hasattr(command, "turns")


async def test_answers_of_a_disabled_user_stop(
    services: ScriptedServices, leaving_user: int, tmp_path: Path
) -> None:
    deletion = AccountDeletion(
        settings_of(tmp_path), services.db, services.answers, services.pool, services.hub
    )
    heard: list[RequestEvent] = []
    by_program = Request(Generate(1 << 40, ()), leaving_user, heard.append)
    services.pool.submit("tiny", by_program)
    waits = replace(services.prompt("and then", "client33", OTHER), user_id=leaving_user)
    await services.answers.submit(waits)
    await until(lambda: by_program.command.id in {c.id for c in services.runner.sent})
    chat = await services.chats.get(leaving_user, OTHER)
    *_, running, _, waiting = await services.chats.messages(chat)
    await deletion.stop(leaving_user)
    cancelled = {c.id for c in services.runner.sent if not is_generate(c)}
    assert cancelled >= {running.id, by_program.id}
    services.runner.say(finished(running.id, "cancelled"), finished(by_program.id, "cancelled"))
    await until(lambda: not services.hub.running_chats(leaving_user) and len(heard) > 0)
    assert isinstance(heard[-1], Finished)
    path = {message.id: message for message in await services.chats.messages(chat)}
    assert (path[running.id].status, path[running.id].text) == ("stopped", WORDS[4])
    assert path[waiting.id].status == "stopped"
    assert services.hub.running_chats(1) == {BYSTANDER}


async def test_a_deletion_of_a_user_that_a_crash_or_a_command_has_begun_is_finished(
    services: ScriptedServices, tmp_path: Path
) -> None:
    here = Users(services.db, Sessions(services.db))
    await services.db.write(lambda c: users.set_password(c, 1, "x"))
    user = await here.add("Quentin", None, "member")
    await here.mark_for_deletion(user.id)
    deletion = AccountDeletion(
        settings_of(tmp_path), services.db, services.answers, services.pool, services.hub
    )
    watch = asyncio.create_task(deletion.run())
    async with asyncio.timeout(PATIENCE):
        while rows_that_hold(tmp_path / "wick.db", user.id):
            await asyncio.sleep(0.01)
    watch.cancel()
    assert rows_that_hold(tmp_path / "wick.db", user.id) == []


async def test_a_user_is_erased_from_the_disk_without_a_server(
    services: ScriptedServices, leaving_user: int, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path)
    gone = plant(settings, CHAT)
    await services.answers.stop_all(leaving_user, OTHER)
    (running,) = [s.message_id for s in services.hub._streams.values() if s.user_id == leaving_user]
    services.runner.say(finished(running, "cancelled"))
    await until(lambda: not services.hub.running_chats(leaving_user))
    await Users(services.db, Sessions(services.db)).mark_for_deletion(leaving_user)
    await erase_user(services.db, settings, leaving_user)
    assert not gone.exists()
    assert [word for word in WORDS if word.encode() in files_of(tmp_path)] == []


async def test_a_user_who_is_not_marked_is_not_deleted(
    services: ScriptedServices, tmp_path: Path
) -> None:
    deletion = AccountDeletion(
        settings_of(tmp_path), services.db, services.answers, services.pool, services.hub
    )
    await deletion.complete(1)

    async def count(connection: aiosqlite.Connection) -> int:
        async with connection.execute("SELECT count(*) FROM users") as cursor:
            row = await cursor.fetchone()
        assert row
        return int(row[0])

    assert await services.db.write(count) == 1


async def test_the_local_user_is_there_again_after_a_deletion(
    services: ScriptedServices, tmp_path: Path
) -> None:
    here = Users(services.db, Sessions(services.db))
    settings = settings_of(tmp_path)
    await services.db.write(lambda c: users.set_password(c, 1, "x"))
    other = await here.add("Olga", "a long password", "owner")
    assert other.role == "owner"
    settings.terminal_history.write_text("a secret question")
    await here.mark_for_deletion(1)
    await here.rename(other.id, "local")
    await erase_user(services.db, settings, 1)
    assert not settings.terminal_history.exists()
    assert await users.get(services.db, 1) is None
    await services.chats.recover_interrupted()  # at the next start
    local = await users.get(services.db, 1)
    assert local
    assert (local.role, local.has_password) == ("owner", False)
    assert local.name != "local"
