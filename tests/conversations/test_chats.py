"""The verbs on a real database and the real hub; the runner says what the test tells it to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiosqlite
import pytest

from app.conversations.chats import RETENTION_SECONDS, Trash
from app.conversations.settings import parse_generation_settings
from app.conversations.submission import PENDING_NOTE, Prompt
from app.db import chats as chat_rows
from app.db import messages
from app.db.connection import Database
from app.errors import (
    ChatBusy,
    ChatNotFound,
    DiskFull,
    InvalidMessage,
    ModelNotFound,
    QueueFull,
    ShuttingDown,
)
from app.inference.kv_files import chat_key, model_key
from app.inference.process import RunnerProcess
from app.inference.protocol import Cancel, DeleteCache, Delta, Finished, Generate, Prefill
from app.models.model import ModelSettings, Turn
from app.models.parameters import Sampling
from app.models.store import ModelStore
from tests.conversations.services import CHAT, OTHER, ScriptedServices, built, finished
from tests.inference.scripted import ScriptedRunner
from tests.patience import PATIENCE, until


async def test_prompt_and_empty_answer_are_saved_before_submit_returns(
    services: ScriptedServices,
) -> None:
    await services.answers.submit(services.prompt("Tell me\r\na story"))
    question, answer = await services.path()
    assert (question.text, question.status) == ("Tell me\na story", "done")
    assert (answer.text, answer.status) == ("", "queued")
    assert [c.title for c in await services.chats.recent(1)] == ["Tell me a story"]


async def test_a_chat_that_begins_while_it_is_looked_for_is_found(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, looks = chat_rows.get, list[str]()

    async def look(db: Database, user_id: int, chat_id: str) -> chat_rows.Chat | None:
        looks.append(chat_id)
        if len(looks) > 1:
            return await find(db, user_id, chat_id)
        await services.answers.submit(services.prompt("hello"))
        return None  # as it was before

    monkeypatch.setattr(chat_rows, "get", look)
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    assert chat.title == "hello"


async def test_an_answer_is_saved_with_its_figures(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Prefill(answer, 9, 9, 4, 0), Delta(answer, "Hi "), Delta(answer, "you"))
    services.runner.say(finished(answer))
    saved = await services.ended(answer)
    assert (saved.status, saved.text, saved.finish_reason) == ("done", "Hi you", "stop")
    assert (saved.prompt_tokens, saved.cached_tokens, saved.completion_tokens) == (9, 4, 2)
    assert saved.first_token_seconds is not None


async def test_the_next_request_carries_the_conversation(services: ScriptedServices) -> None:
    first = await services.ask("one", "client01")
    services.runner.say(Delta(first, "uno"), finished(first))
    await services.ended(first)
    await services.ask("two", "client02")
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.turns == (Turn("user", "one"), Turn("assistant", "uno"), Turn("user", "two"))


async def test_an_answer_keeps_the_settings_that_made_it(
    services: ScriptedServices, store: ModelStore
) -> None:
    chosen = ModelSettings("Be brief.", Sampling(temperature=0.0, seed=5))
    store.save_settings("tiny", chosen)
    try:
        first = await services.ask("one", "client01")
        await services.answers.submit(services.prompt("two", "client02"))  # waits, and keeps these
    finally:
        store.save_settings("tiny", ModelSettings())
    services.runner.say(Delta(first, "uno"), finished(first))
    made_with = parse_generation_settings((await services.ended(first)).settings)
    assert made_with is not None
    assert (made_with.sampling, made_with.system_prompt) == (chosen.sampling, "Be brief.")
    second = (await services.path())[-1].id
    await until(lambda: services.runner.sent[-1].id == second)
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.sampling == chosen.sampling
    assert command.turns[0] == Turn("system", "Be brief.")
    assert [turn.content for turn in command.turns[1:]] == ["one", "uno", "two"]
    services.runner.say(finished(second))
    await services.ended(second)
    await services.ask("three", "client03")
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert (command.sampling, command.turns[0].role) == (Sampling(), "user")


async def test_the_speed_of_a_model_is_that_of_its_latest_answers(
    services: ScriptedServices,
) -> None:
    assert await services.chats.speed("tiny") is None
    answer = await services.ask()
    services.runner.say(finished(answer))
    await services.ended(answer)
    assert await services.chats.speed("tiny") == pytest.approx(20)  # 2 tokens in 0.1 s
    assert await services.chats.speed("other") is None


async def test_a_chosen_model_stays_with_its_chat(services: ScriptedServices) -> None:
    await services.chats.choose_model(1, CHAT, "other")  # not begun yet
    await services.ask()
    await services.chats.choose_model(1, CHAT, "other")
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    assert chat.model == "other"
    with pytest.raises(ChatNotFound):
        await services.chats.choose_model(2, CHAT, "mine")


async def test_the_same_submission_again_changes_nothing(services: ScriptedServices) -> None:
    await services.ask()
    await services.answers.submit(services.prompt())
    await asyncio.gather(*(services.answers.submit(services.prompt()) for _ in range(5)))
    assert len(await services.path()) == 2


async def test_five_submissions_at_once_with_one_client_id_make_one_message(
    services: ScriptedServices,
) -> None:
    await asyncio.gather(*(services.answers.submit(services.prompt()) for _ in range(5)))
    assert len(await services.path()) == 2


async def test_a_second_prompt_while_an_answer_runs_waits_for_it(
    services: ScriptedServices,
) -> None:
    first = await services.ask("one", "client01")
    await services.answers.submit(services.prompt("two", "client02"))
    path = await services.path()
    assert [(m.text, m.status) for m in path[2:]] == [("two", "done"), ("", "queued")]
    held = services.hub.stream(path[-1].id)
    assert held is not None
    assert held.is_pending
    services.runner.say(Delta(first, "uno"), finished(first))
    await until(lambda: len(services.runner.sent) == 2)
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.id == path[-1].id
    assert command.turns == (Turn("user", "one"), Turn("assistant", "uno"), Turn("user", "two"))
    assert not held.is_pending


async def test_a_waiting_prompt_can_be_taken_back_from_the_middle(
    services: ScriptedServices,
) -> None:
    first = await services.ask("one", "client01")
    await services.answers.submit(services.prompt("two", "client02"))
    await services.answers.submit(services.prompt("three", "client03"))
    second, third = (await services.path())[3].id, (await services.path())[5].id
    for user, answer in ((2, second), (1, first), (1, 99)):
        with pytest.raises(ChatNotFound):
            await services.answers.withdraw(user, CHAT, answer)
    assert await services.answers.withdraw(1, CHAT, second) == ("two", [])
    assert [m.text for m in await services.path()] == ["one", "", "three", ""]
    services.runner.say(Delta(first, "uno"), finished(first))
    await until(lambda: [c.id for c in services.runner.sent] == [first, third])


async def test_taking_back_the_last_prompt_ends_the_chat_before_it(
    services: ScriptedServices,
) -> None:
    first = await services.ask("one", "client01")
    await services.answers.submit(services.prompt("two", "client02"))
    await services.answers.withdraw(1, CHAT, (await services.path())[-1].id)
    assert [m.id for m in await services.path()][-1] == first
    services.runner.say(finished(first))
    await services.ended(first)
    await services.ask("two after all", "client03")


async def test_stop_ends_one_answer_and_the_next_begins(services: ScriptedServices) -> None:
    first = await services.ask("one", "client01")
    await services.answers.submit(services.prompt("two", "client02"))
    await services.answers.stop(1, CHAT)
    await until(lambda: len(services.runner.sent) == 2)
    services.runner.say(finished(first, "cancelled"))
    await until(lambda: len(services.runner.sent) == 3)
    assert (await services.ended(first)).status == "stopped"


async def test_too_many_waiting_prompts_are_refused_with_a_sentence(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client00")
    for number in range(1, PENDING_NOTE):
        await services.answers.submit(services.prompt("more", f"client{number:02}"))
    with pytest.raises(ChatBusy, match="are waiting for answers"):
        await services.answers.submit(services.prompt("too many", "client99"))
    assert len(await services.path()) == 2 * PENDING_NOTE


async def test_prompts_that_wait_at_a_stop_wait_for_the_next_start(
    services: ScriptedServices,
) -> None:
    first = await services.ask("one", "client01")
    await services.answers.submit(services.prompt("two", "client02"))
    second = (await services.path())[-1].id
    services.runner.say(Prefill(first, 0, 9, 0, 0))
    await until(lambda: services.hub.streams()[0].status == "prefill")
    services.answers.close()
    await services.pool.close("Wick was stopped.")
    assert (await services.ended(first)).status == "interrupted"
    assert (await services.ended(second)).status == "queued"
    assert len(services.runner.sent) == 1
    with pytest.raises(ShuttingDown):
        await services.answers.submit(services.prompt("too late", "client03", OTHER))


async def test_stopping_an_answer_keeps_its_text(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "Once upon"))
    await until(lambda: bool(services.hub.stream(answer) and services.hub.stream(answer).text))  # type: ignore[union-attr]
    await services.answers.stop(2, CHAT)  # a stranger's command is nothing
    await services.answers.stop(1, CHAT)
    await until(lambda: len(services.runner.sent) == 2)
    services.runner.say(finished(answer, "cancelled"))
    saved = await services.ended(answer)
    assert (saved.status, saved.text) == ("stopped", "Once upon")


async def test_a_stopped_answer_is_not_interrupted_when_wick_ends_before_the_model_stops(
    services: ScriptedServices,
) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "Once upon"))
    await until(lambda: bool(services.hub.stream(answer) and services.hub.stream(answer).text))  # type: ignore[union-attr]
    await services.answers.stop(1, CHAT)
    await services.pool.close("Wick was stopped.")
    saved = await services.ended(answer)
    assert (saved.status, saved.text, saved.error) == ("stopped", "Once upon", None)


async def test_closing_the_server_interrupts_an_answer_and_keeps_its_text(
    services: ScriptedServices,
) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "Once upon"))
    await until(lambda: bool(services.hub.stream(answer) and services.hub.stream(answer).text))  # type: ignore[union-attr]
    await services.pool.close("Wick was stopped.")
    saved = await services.ended(answer)
    assert (saved.status, saved.text, saved.error) == (
        "interrupted",
        "Once upon",
        "Wick was stopped.",
    )
    with pytest.raises(ShuttingDown):
        await services.answers.submit(services.prompt("more", "client02"))


@pytest.mark.parametrize("text", ["", "  \n\t ", "\n\n"])
async def test_an_empty_prompt_is_refused(services: ScriptedServices, text: str) -> None:
    with pytest.raises(InvalidMessage, match="Write a message first"):
        await services.answers.submit(services.prompt(text))


async def test_a_prompt_that_is_too_long_is_refused_with_the_figures(
    services: ScriptedServices,
) -> None:
    with pytest.raises(InvalidMessage, match="100,001 characters"):
        await services.answers.submit(services.prompt("x" * 100_001))
    assert await services.chats.recent(1) == []


async def test_characters_that_no_database_can_hold_become_replacement_characters(
    services: ScriptedServices,
) -> None:
    await services.answers.submit(services.prompt("a\ud800b\0c"))
    assert (await services.path())[0].text == "a\ufffdb\ufffdc"


async def test_a_prompt_to_an_unknown_model_is_not_saved(services: ScriptedServices) -> None:
    for model in ("gone", "", "../tiny"):
        with pytest.raises(ModelNotFound):
            await services.answers.submit(Prompt(1, CHAT, "hello", "client01", model))
    assert await services.chats.recent(1) == []


async def test_other_users_find_no_chat(services: ScriptedServices) -> None:
    await services.ask()
    for verb in (
        services.chats.get(2, CHAT),
        services.answers.submit(Prompt(2, CHAT, "hello", "client09", "tiny")),
        services.chats.rename(2, CHAT, "mine"),
        services.chats.delete(2, CHAT),
        services.chats.restore(2, CHAT),
        services.chats.get(1, "../../etc/passwd"),
    ):
        with pytest.raises(ChatNotFound):
            await verb
    assert await services.chats.recent(2) == []


async def test_a_prompt_to_a_full_queue_is_not_saved(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def start(*_: object) -> ScriptedRunner:
        await never.wait()
        raise AssertionError

    monkeypatch.setattr(RunnerProcess, "start", start)
    async with built(tmp_path, store, queue_limit=1, slots=1) as services:
        await services.answers.submit(services.prompt())
        with pytest.raises(QueueFull, match="tiny is busy"):
            await services.answers.submit(services.prompt("more", "client02", OTHER))
        assert len(await services.chats.recent(1)) == 1


async def test_a_prompt_on_a_full_disk_is_refused_with_a_sentence(
    services: ScriptedServices,
) -> None:
    async def fill(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA max_page_count = 1")

    await services.db.write(fill)
    with pytest.raises(DiskFull, match="no room left"):
        await services.answers.submit(services.prompt("x" * 90_000))
    assert await services.chats.recent(1) == []


async def test_an_unread_chat_is_shown_while_nothing_can_be_written(
    services: ScriptedServices,
) -> None:
    async def refuse(connection: aiosqlite.Connection) -> None:
        await connection.execute("UPDATE chats SET is_unread = 1")
        await connection.execute("PRAGMA query_only = ON")

    await services.answers.submit(services.prompt("Hello"))
    await services.db.write(refuse)
    (chat,) = await services.chats.recent(1)
    await services.chats.mark_read(1, chat.id)
    found = await services.chats.get(1, chat.id)
    assert found is not None
    assert found.is_unread


async def test_a_prompt_that_a_full_disk_keeps_from_being_taken_back_stays_queued(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await services.ask("one", "client01")
    await services.answers.submit(services.prompt("two", "client02"))
    second = (await services.path())[-1].id

    async def fail(work: object) -> None:
        raise DiskFull("There is no room left on the disk.")

    with monkeypatch.context() as patched:
        patched.setattr(services.db, "write", fail)
        with pytest.raises(DiskFull, match="no room left"):
            await services.answers.withdraw(1, CHAT, second)
    assert [m.text for m in await services.path()] == ["one", "", "two", ""]
    services.runner.say(finished(first))
    await until(lambda: services.runner.sent[-1].id == second)
    services.runner.say(finished(second))
    assert (await services.ended(second)).status == "done"


async def test_an_answer_that_ends_on_a_full_disk_is_kept_until_there_is_room(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.conversations.answer_recorder.RETRY_SECONDS", 0.01)
    answer = await services.ask()

    async def pages(connection: aiosqlite.Connection, count: int) -> None:
        await connection.execute(f"PRAGMA max_page_count = {count}")

    await services.db.write(lambda c: pages(c, 1))
    services.runner.say(Delta(answer, "x" * 90_000), finished(answer))
    await until(lambda: "not saved yet" in trouble_of(services, answer))
    await services.db.write(lambda c: pages(c, 1_000_000))
    saved = await services.ended(answer)
    assert (saved.status, len(saved.text)) == ("done", 90_000)


def trouble_of(services: ScriptedServices, answer_id: int) -> str:
    stream = services.hub.stream(answer_id)
    assert stream is not None, "the stream is gone before its text was saved"
    return stream.warning


async def test_the_model_gives_a_title_when_nobody_waits(services: ScriptedServices) -> None:
    answer = await services.ask("tell me about foxes")
    services.runner.say(Delta(answer, "Foxes are"), finished(answer))
    await until(lambda: len(services.runner.sent) == 2)
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert "tell me about foxes" in command.turns[0].content
    services.runner.say(
        Delta(command.id, '"All about'), Delta(command.id, ' foxes"'), finished(command.id)
    )
    mine = services.hub.subscribe(1, CHAT)
    await until(lambda: mine.sidebar)
    assert [c.title for c in await services.chats.recent(1)] == ["All about foxes"]
    second = await services.ask("and wolves", "client02")
    services.runner.say(finished(second))
    await services.ended(second)
    assert len(services.runner.sent) == 3  # no further title


async def test_a_title_request_that_gave_way_begins_anew(services: ScriptedServices) -> None:
    answer = await services.ask("tell me about foxes")
    services.runner.say(finished(answer))
    await until(lambda: len(services.runner.sent) == 2)
    command = services.runner.sent[-1].id
    services.runner.say(Prefill(command, 5, 5, 0, 0), Delta(command, "All ab"))
    second = await services.ask("and wolves", "client02")
    assert Cancel(command) in services.runner.sent
    services.runner.say(Finished(command, "cancelled", 5, 0, 2, 0.1, 0.1, 0), finished(second))
    await services.ended(second)
    await until(
        lambda: [c.id for c in services.runner.sent if isinstance(c, Generate)][-1] == command
    )
    services.runner.say(
        Prefill(command, 5, 5, 0, 0), Delta(command, "All about foxes"), finished(command)
    )
    mine = services.hub.subscribe(1, CHAT)
    async with asyncio.timeout(PATIENCE):
        while [c.title for c in await services.chats.recent(1)] != ["All about foxes"]:
            await mine.wake.wait()
            mine.wake.clear()


async def test_a_title_from_the_user_stays(services: ScriptedServices) -> None:
    answer = await services.ask()
    await services.chats.rename(1, CHAT, "Mine")
    services.runner.say(finished(answer))
    await services.ended(answer)
    await services.answers.tasks.drain(5)
    assert len(services.runner.sent) == 1
    assert not await services.db.write(
        lambda c: chat_rows.set_generated_title(c, 1, CHAT, "the model's")
    )


async def test_deleted_chats_come_back_whole(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "Hi"), finished(answer))
    await services.ended(answer)
    await services.chats.delete(1, CHAT)
    assert await services.chats.recent(1) == []
    await services.chats.restore(1, CHAT)
    assert len(await services.path()) == 2


async def test_deleting_stops_the_answer_and_what_waits(services: ScriptedServices) -> None:
    answer = await services.ask()
    await services.answers.submit(services.prompt("two", "client02"))
    second = (await services.path())[-1].id
    await services.chats.delete(1, CHAT)
    assert [c.id for c in services.runner.sent] == [answer, answer]
    await until(lambda: services.hub.stream(second) is None)
    assert (await services.path())[-1].status == "stopped"


async def test_titles_of_chats_are_checked(services: ScriptedServices) -> None:
    await services.ask()
    await services.chats.rename(1, CHAT, "  Foxes \n of the  world ")
    assert (await services.chats.recent(1))[0].title == "Foxes of the world"
    with pytest.raises(InvalidMessage):
        await services.chats.rename(1, CHAT, "   ")


async def test_kv_states_go_with_their_chat_and_not_before(
    services: ScriptedServices, tmp_path: Path
) -> None:
    trash = Trash(services.db, services.pool, services.hub)
    state, other = (tmp_path / "kv" / "model" / f"{chat_key(chat)}.kv" for chat in (CHAT, "x"))
    state.parent.mkdir(parents=True)
    for path in (state, other):
        path.touch()
    services.runner.say(finished(await services.ask()))
    assert services.runner.sent[0].chat == CHAT  # type: ignore[union-attr]
    await services.chats.delete(1, CHAT)
    now = time.time()
    assert await trash.remove_expired(now + RETENTION_SECONDS - 60) == 0
    assert state.exists()  # the trash keeps them
    assert await trash.remove_expired(now + RETENTION_SECONDS + 60) == 1
    assert not state.exists()
    assert other.exists()
    assert services.runner.commands[-1] == DeleteCache(CHAT)
    assert await services.chats.get(1, CHAT) is None


@pytest.mark.parametrize(("disk_mb", "stay"), [(100, {CHAT}), (0, set())])
async def test_kv_states_that_a_crash_left_are_deleted_at_the_start(
    tmp_path: Path, store: ModelStore, disk_mb: int, stay: set[str]
) -> None:
    [model] = store.models()
    folder = tmp_path / "kv" / model_key(model.digest, model.size)
    folder.mkdir(parents=True)
    for chat in (CHAT, OTHER):
        (folder / f"{chat_key(chat)}.kv").touch()
    async with built(tmp_path, store, kv_disk_mb=disk_mb) as services:
        await services.db.write(lambda c: chat_rows.create(c, CHAT, 1, "Foxes", "tiny", 0.0))
        watch = asyncio.create_task(Trash(services.db, services.pool, services.hub).run())
        await until(lambda: len(list(folder.iterdir())) == len(stay))
        watch.cancel()
    assert {path.stem for path in folder.iterdir()} == {chat_key(chat) for chat in stay}


async def test_emptying_the_trash_leaves_other_chats_and_other_users(
    services: ScriptedServices,
) -> None:
    trash = Trash(services.db, services.pool, services.hub)
    for chat, client_id in ((CHAT, "client01"), (OTHER, "client02")):
        services.runner.say(finished(await services.ask("hello", client_id, chat)))
    await services.chats.delete(1, CHAT)
    for user_id, chat_id in ((2, CHAT), (1, OTHER)):
        with pytest.raises(ChatNotFound):
            await trash.remove(user_id, chat_id)
    assert await trash.empty(2) == 0
    assert await trash.empty(1) == 1
    assert [chat.id for chat in await services.chats.recent(1)] == [OTHER]


async def test_an_answer_that_nobody_saw_is_unread_until_its_chat_is_opened(
    services: ScriptedServices,
) -> None:
    async def is_unread() -> bool:
        chat = await services.chats.get(1, CHAT)
        assert chat is not None
        return bool(chat.is_unread)

    stranger = services.hub.subscribe(2, CHAT)
    answer = await services.ask()
    services.runner.say(finished(answer))
    await services.ended(answer)
    assert await is_unread()
    await services.chats.mark_read(1, CHAT)
    assert not await is_unread()
    services.hub.subscribe(1, CHAT)
    answer = await services.ask("again", "client02")
    services.runner.say(finished(answer))
    await services.ended(answer)
    assert not await is_unread()
    assert not stranger.sidebar


async def test_a_path_through_a_message_on_another_branch_is_shown(
    services: ScriptedServices,
) -> None:
    answer = await services.ask()
    services.runner.say(finished(answer))
    await services.ended(answer)

    async def branch(connection: aiosqlite.Connection) -> int:
        left = await messages.add_user(connection, 1, CHAT, answer, "left", "c2", 3.0)
        end = await messages.add_answer(connection, 1, CHAT, left, "tiny", 3.0)
        await messages.finish(connection, 1, end, "done", "left end", 4.0)
        right = await messages.add_user(connection, 1, CHAT, answer, "right", "c3", 3.0)
        await chat_rows.advance(connection, 1, CHAT, right, "tiny", 5.0)
        return left

    left = await services.db.write(branch)
    with pytest.raises(ChatNotFound):
        await services.chats.show_path_to(2, CHAT, left)
    await services.chats.show_path_to(1, CHAT, 999_999)
    assert (await services.path())[-1].text == "right"
    await services.chats.show_path_to(1, CHAT, left)
    assert [m.text for m in await services.path()][-2:] == ["left", "left end"]


async def test_a_subscriber_hears_only_of_its_own_user_and_chat(services: ScriptedServices) -> None:
    mine, other_chat = services.hub.subscribe(1, CHAT), services.hub.subscribe(1, OTHER)
    stranger = services.hub.subscribe(2, CHAT)
    answer = await services.ask()
    services.runner.say(Delta(answer, "secret"))
    await until(lambda: answer in mine.streams)
    assert mine.messages
    assert other_chat.sidebar
    assert not other_chat.messages
    assert not other_chat.streams
    assert not stranger.messages
    assert not stranger.sidebar
    assert not stranger.streams
