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
from tests.conversations.services import CHAT, OTHER, House, built, finished
from tests.inference.scripted import ScriptedRunner
from tests.patience import PATIENCE, until


async def test_prompt_and_empty_answer_are_saved_before_submit_returns(house: House) -> None:
    await house.asking.submit(house.prompt("Tell me\r\na story"))
    question, answer = await house.path()
    assert (question.text, question.status) == ("Tell me\na story", "done")
    assert (answer.text, answer.status) == ("", "queued")
    assert [c.title for c in await house.chats.recent(1)] == ["Tell me a story"]


async def test_a_chat_that_begins_while_it_is_looked_for_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, looks = chat_rows.get, list[str]()

    async def look(db: Database, user_id: int, chat_id: str) -> chat_rows.Chat | None:
        looks.append(chat_id)
        if len(looks) > 1:
            return await find(db, user_id, chat_id)
        await house.asking.submit(house.prompt("hello"))
        return None  # as it was before

    monkeypatch.setattr(chat_rows, "get", look)
    chat = await house.chats.get(1, CHAT)
    assert chat is not None
    assert chat.title == "hello"


async def test_an_answer_is_saved_with_its_figures(house: House) -> None:
    answer = await house.ask()
    house.runner.say(Prefill(answer, 9, 9, 4, 0), Delta(answer, "Hi "), Delta(answer, "you"))
    house.runner.say(finished(answer))
    saved = await house.ended(answer)
    assert (saved.status, saved.text, saved.finish_reason) == ("done", "Hi you", "stop")
    assert (saved.prompt_tokens, saved.cached_tokens, saved.completion_tokens) == (9, 4, 2)
    assert saved.first_token_seconds is not None


async def test_the_next_request_carries_the_conversation(house: House) -> None:
    first = await house.ask("one", "client01")
    house.runner.say(Delta(first, "uno"), finished(first))
    await house.ended(first)
    await house.ask("two", "client02")
    command = house.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.turns == (Turn("user", "one"), Turn("assistant", "uno"), Turn("user", "two"))


async def test_an_answer_keeps_the_settings_that_made_it(house: House, shelf: ModelStore) -> None:
    chosen = ModelSettings("Be brief.", Sampling(temperature=0.0, seed=5))
    shelf.save_settings("tiny", chosen)
    try:
        first = await house.ask("one", "client01")
        await house.asking.submit(house.prompt("two", "client02"))  # waits, and keeps these
    finally:
        shelf.save_settings("tiny", ModelSettings())
    house.runner.say(Delta(first, "uno"), finished(first))
    made_with = parse_generation_settings((await house.ended(first)).settings)
    assert made_with is not None
    assert (made_with.sampling, made_with.system_prompt) == (chosen.sampling, "Be brief.")
    second = (await house.path())[-1].id
    await until(lambda: house.runner.sent[-1].id == second)
    command = house.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.sampling == chosen.sampling
    assert command.turns[0] == Turn("system", "Be brief.")
    assert [turn.content for turn in command.turns[1:]] == ["one", "uno", "two"]
    house.runner.say(finished(second))
    await house.ended(second)
    await house.ask("three", "client03")
    command = house.runner.sent[-1]
    assert isinstance(command, Generate)
    assert (command.sampling, command.turns[0].role) == (Sampling(), "user")


async def test_the_speed_of_a_model_is_that_of_its_latest_answers(house: House) -> None:
    assert await house.chats.speed("tiny") is None
    answer = await house.ask()
    house.runner.say(finished(answer))
    await house.ended(answer)
    assert await house.chats.speed("tiny") == pytest.approx(20)  # 2 tokens in 0.1 s
    assert await house.chats.speed("other") is None


async def test_a_chosen_model_stays_with_its_chat(house: House) -> None:
    await house.chats.choose_model(1, CHAT, "other")  # not begun yet
    await house.ask()
    await house.chats.choose_model(1, CHAT, "other")
    chat = await house.chats.get(1, CHAT)
    assert chat is not None
    assert chat.model == "other"
    with pytest.raises(ChatNotFound):
        await house.chats.choose_model(2, CHAT, "mine")


async def test_the_same_submission_again_changes_nothing(house: House) -> None:
    await house.ask()
    await house.asking.submit(house.prompt())
    await asyncio.gather(*(house.asking.submit(house.prompt()) for _ in range(5)))
    assert len(await house.path()) == 2


async def test_five_submissions_at_once_with_one_client_id_make_one_message(house: House) -> None:
    await asyncio.gather(*(house.asking.submit(house.prompt()) for _ in range(5)))
    assert len(await house.path()) == 2


async def test_a_second_prompt_while_an_answer_runs_waits_for_it(house: House) -> None:
    first = await house.ask("one", "client01")
    await house.asking.submit(house.prompt("two", "client02"))
    path = await house.path()
    assert [(m.text, m.status) for m in path[2:]] == [("two", "done"), ("", "queued")]
    held = house.hub.stream(path[-1].id)
    assert held is not None
    assert held.is_pending
    house.runner.say(Delta(first, "uno"), finished(first))
    await until(lambda: len(house.runner.sent) == 2)
    command = house.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.id == path[-1].id
    assert command.turns == (Turn("user", "one"), Turn("assistant", "uno"), Turn("user", "two"))
    assert not held.is_pending


async def test_a_waiting_prompt_can_be_taken_back_from_the_middle(house: House) -> None:
    first = await house.ask("one", "client01")
    await house.asking.submit(house.prompt("two", "client02"))
    await house.asking.submit(house.prompt("three", "client03"))
    second, third = (await house.path())[3].id, (await house.path())[5].id
    for user, answer in ((2, second), (1, first), (1, 99)):
        with pytest.raises(ChatNotFound):
            await house.asking.withdraw(user, CHAT, answer)
    assert await house.asking.withdraw(1, CHAT, second) == "two"
    assert [m.text for m in await house.path()] == ["one", "", "three", ""]
    house.runner.say(Delta(first, "uno"), finished(first))
    await until(lambda: [c.id for c in house.runner.sent] == [first, third])


async def test_taking_back_the_last_prompt_ends_the_chat_before_it(house: House) -> None:
    first = await house.ask("one", "client01")
    await house.asking.submit(house.prompt("two", "client02"))
    await house.asking.withdraw(1, CHAT, (await house.path())[-1].id)
    assert [m.id for m in await house.path()][-1] == first
    house.runner.say(finished(first))
    await house.ended(first)
    await house.ask("two after all", "client03")


async def test_stop_ends_one_answer_and_the_next_begins(house: House) -> None:
    first = await house.ask("one", "client01")
    await house.asking.submit(house.prompt("two", "client02"))
    await house.asking.stop(1, CHAT)
    await until(lambda: len(house.runner.sent) == 2)
    house.runner.say(finished(first, "cancelled"))
    await until(lambda: len(house.runner.sent) == 3)
    assert (await house.ended(first)).status == "stopped"


async def test_too_many_waiting_prompts_are_refused_with_a_sentence(house: House) -> None:
    await house.ask("one", "client00")
    for number in range(1, PENDING_NOTE):
        await house.asking.submit(house.prompt("more", f"client{number:02}"))
    with pytest.raises(ChatBusy, match="are waiting for answers"):
        await house.asking.submit(house.prompt("too many", "client99"))
    assert len(await house.path()) == 2 * PENDING_NOTE


async def test_prompts_that_wait_at_a_stop_wait_for_the_next_start(house: House) -> None:
    first = await house.ask("one", "client01")
    await house.asking.submit(house.prompt("two", "client02"))
    second = (await house.path())[-1].id
    house.runner.say(Prefill(first, 0, 9, 0, 0))
    await until(lambda: house.hub.streams()[0].status == "prefill")
    house.asking.close()
    await house.pool.close("Wick was stopped.")
    assert (await house.ended(first)).status == "interrupted"
    assert (await house.ended(second)).status == "queued"
    assert len(house.runner.sent) == 1
    with pytest.raises(ShuttingDown):
        await house.asking.submit(house.prompt("too late", "client03", OTHER))


async def test_stopping_an_answer_keeps_its_text(house: House) -> None:
    answer = await house.ask()
    house.runner.say(Delta(answer, "Once upon"))
    await until(lambda: bool(house.hub.stream(answer) and house.hub.stream(answer).text))  # type: ignore[union-attr]
    await house.asking.stop(2, CHAT)  # a stranger's wish is nothing
    await house.asking.stop(1, CHAT)
    await until(lambda: len(house.runner.sent) == 2)
    house.runner.say(finished(answer, "cancelled"))
    saved = await house.ended(answer)
    assert (saved.status, saved.text) == ("stopped", "Once upon")


async def test_a_stopped_answer_is_not_interrupted_when_wick_ends_before_the_model_stops(
    house: House,
) -> None:
    answer = await house.ask()
    house.runner.say(Delta(answer, "Once upon"))
    await until(lambda: bool(house.hub.stream(answer) and house.hub.stream(answer).text))  # type: ignore[union-attr]
    await house.asking.stop(1, CHAT)
    await house.pool.close("Wick was stopped.")
    saved = await house.ended(answer)
    assert (saved.status, saved.text, saved.error) == ("stopped", "Once upon", None)


async def test_closing_the_server_interrupts_an_answer_and_keeps_its_text(house: House) -> None:
    answer = await house.ask()
    house.runner.say(Delta(answer, "Once upon"))
    await until(lambda: bool(house.hub.stream(answer) and house.hub.stream(answer).text))  # type: ignore[union-attr]
    await house.pool.close("Wick was stopped.")
    saved = await house.ended(answer)
    assert (saved.status, saved.text, saved.error) == (
        "interrupted",
        "Once upon",
        "Wick was stopped.",
    )
    with pytest.raises(ShuttingDown):
        await house.asking.submit(house.prompt("more", "client02"))


@pytest.mark.parametrize("text", ["", "  \n\t ", "\n\n"])
async def test_an_empty_prompt_is_refused(house: House, text: str) -> None:
    with pytest.raises(InvalidMessage, match="Write a message first"):
        await house.asking.submit(house.prompt(text))


async def test_a_prompt_that_is_too_long_is_refused_with_the_figures(house: House) -> None:
    with pytest.raises(InvalidMessage, match="100,001 characters"):
        await house.asking.submit(house.prompt("x" * 100_001))
    assert await house.chats.recent(1) == []


async def test_characters_that_no_database_can_hold_become_replacement_characters(
    house: House,
) -> None:
    await house.asking.submit(house.prompt("a\ud800b\0c"))
    assert (await house.path())[0].text == "a\ufffdb\ufffdc"


async def test_a_prompt_to_an_unknown_model_is_not_saved(house: House) -> None:
    for model in ("gone", "", "../tiny"):
        with pytest.raises(ModelNotFound):
            await house.asking.submit(Prompt(1, CHAT, "hello", "client01", model))
    assert await house.chats.recent(1) == []


async def test_other_users_find_no_chat(house: House) -> None:
    await house.ask()
    for verb in (
        house.chats.get(2, CHAT),
        house.asking.submit(Prompt(2, CHAT, "hello", "client09", "tiny")),
        house.chats.rename(2, CHAT, "mine"),
        house.chats.delete(2, CHAT),
        house.chats.restore(2, CHAT),
        house.chats.get(1, "../../etc/passwd"),
    ):
        with pytest.raises(ChatNotFound):
            await verb
    assert await house.chats.recent(2) == []


async def test_a_prompt_to_a_full_queue_is_not_saved(
    tmp_path: Path, shelf: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def start(*_: object) -> ScriptedRunner:
        await never.wait()
        raise AssertionError

    monkeypatch.setattr(RunnerProcess, "start", start)
    async with built(tmp_path, shelf, queue_limit=1, slots=1) as house:
        await house.asking.submit(house.prompt())
        with pytest.raises(QueueFull, match="waiting for tiny"):
            await house.asking.submit(house.prompt("more", "client02", OTHER))
        assert len(await house.chats.recent(1)) == 1


async def test_a_prompt_on_a_full_disk_is_refused_with_a_sentence(house: House) -> None:
    async def fill(connection: aiosqlite.Connection) -> None:
        await connection.execute("PRAGMA max_page_count = 1")

    await house.db.write(fill)
    with pytest.raises(DiskFull, match="no room left"):
        await house.asking.submit(house.prompt("x" * 90_000))
    assert await house.chats.recent(1) == []


async def test_a_prompt_that_a_full_disk_keeps_from_being_taken_back_stays_queued(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await house.ask("one", "client01")
    await house.asking.submit(house.prompt("two", "client02"))
    second = (await house.path())[-1].id

    async def fail(work: object) -> None:
        raise DiskFull("There is no room left on the disk.")

    with monkeypatch.context() as patched:
        patched.setattr(house.db, "write", fail)
        with pytest.raises(DiskFull, match="no room left"):
            await house.asking.withdraw(1, CHAT, second)
    assert [m.text for m in await house.path()] == ["one", "", "two", ""]
    house.runner.say(finished(first))
    await until(lambda: house.runner.sent[-1].id == second)
    house.runner.say(finished(second))
    assert (await house.ended(second)).status == "done"


async def test_an_answer_that_ends_on_a_full_disk_is_kept_until_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.conversations.answer_recorder.RETRY_SECONDS", 0.01)
    answer = await house.ask()

    async def pages(connection: aiosqlite.Connection, count: int) -> None:
        await connection.execute(f"PRAGMA max_page_count = {count}")

    await house.db.write(lambda c: pages(c, 1))
    house.runner.say(Delta(answer, "x" * 90_000), finished(answer))
    await until(lambda: "not saved yet" in trouble_of(house, answer))
    await house.db.write(lambda c: pages(c, 1_000_000))
    saved = await house.ended(answer)
    assert (saved.status, len(saved.text)) == ("done", 90_000)


def trouble_of(house: House, answer_id: int) -> str:
    stream = house.hub.stream(answer_id)
    assert stream is not None, "the stream is gone before its text was saved"
    return stream.warning


async def test_the_model_gives_a_title_when_nobody_waits(house: House) -> None:
    answer = await house.ask("tell me about foxes")
    house.runner.say(Delta(answer, "Foxes are"), finished(answer))
    await until(lambda: len(house.runner.sent) == 2)
    wish = house.runner.sent[-1]
    assert isinstance(wish, Generate)
    assert "tell me about foxes" in wish.turns[0].content
    house.runner.say(Delta(wish.id, '"All about'), Delta(wish.id, ' foxes"'), finished(wish.id))
    mine = house.hub.subscribe(1, CHAT)
    await until(lambda: mine.sidebar)
    assert [c.title for c in await house.chats.recent(1)] == ["All about foxes"]
    second = await house.ask("and wolves", "client02")
    house.runner.say(finished(second))
    await house.ended(second)
    assert len(house.runner.sent) == 3  # no further title


async def test_a_title_request_that_gave_way_begins_anew(house: House) -> None:
    answer = await house.ask("tell me about foxes")
    house.runner.say(finished(answer))
    await until(lambda: len(house.runner.sent) == 2)
    wish = house.runner.sent[-1].id
    house.runner.say(Prefill(wish, 5, 5, 0, 0), Delta(wish, "All ab"))
    second = await house.ask("and wolves", "client02")
    assert Cancel(wish) in house.runner.sent
    house.runner.say(Finished(wish, "cancelled", 5, 0, 2, 0.1, 0.1, 0), finished(second))
    await house.ended(second)
    await until(lambda: [c.id for c in house.runner.sent if isinstance(c, Generate)][-1] == wish)
    house.runner.say(Prefill(wish, 5, 5, 0, 0), Delta(wish, "All about foxes"), finished(wish))
    mine = house.hub.subscribe(1, CHAT)
    async with asyncio.timeout(PATIENCE):
        while [c.title for c in await house.chats.recent(1)] != ["All about foxes"]:
            await mine.wake.wait()
            mine.wake.clear()


async def test_a_title_from_the_user_stays(house: House) -> None:
    answer = await house.ask()
    await house.chats.rename(1, CHAT, "Mine")
    house.runner.say(finished(answer))
    await house.ended(answer)
    await house.asking.tasks.drain(5)
    assert len(house.runner.sent) == 1
    assert not await house.db.write(
        lambda c: chat_rows.set_generated_title(c, 1, CHAT, "the model's")
    )


async def test_deleted_chats_come_back_whole(house: House) -> None:
    answer = await house.ask()
    house.runner.say(Delta(answer, "Hi"), finished(answer))
    await house.ended(answer)
    await house.chats.delete(1, CHAT)
    assert await house.chats.recent(1) == []
    await house.chats.restore(1, CHAT)
    assert len(await house.path()) == 2


async def test_deleting_stops_the_answer_and_what_waits(house: House) -> None:
    answer = await house.ask()
    await house.asking.submit(house.prompt("two", "client02"))
    second = (await house.path())[-1].id
    await house.chats.delete(1, CHAT)
    assert [c.id for c in house.runner.sent] == [answer, answer]
    await until(lambda: house.hub.stream(second) is None)
    assert (await house.path())[-1].status == "stopped"


async def test_titles_of_chats_are_checked(house: House) -> None:
    await house.ask()
    await house.chats.rename(1, CHAT, "  Foxes \n of the  world ")
    assert (await house.chats.recent(1))[0].title == "Foxes of the world"
    with pytest.raises(InvalidMessage):
        await house.chats.rename(1, CHAT, "   ")


async def test_kv_states_go_with_their_chat_and_not_before(house: House, tmp_path: Path) -> None:
    trash = Trash(house.db, house.pool, house.hub)
    state, other = (tmp_path / "kv" / "model" / f"{chat_key(chat)}.kv" for chat in (CHAT, "x"))
    state.parent.mkdir(parents=True)
    for path in (state, other):
        path.touch()
    house.runner.say(finished(await house.ask()))
    assert house.runner.sent[0].chat == CHAT  # type: ignore[union-attr]
    await house.chats.delete(1, CHAT)
    now = time.time()
    assert await trash.remove_expired(now + RETENTION_SECONDS - 60) == 0
    assert state.exists()  # the trash keeps them
    assert await trash.remove_expired(now + RETENTION_SECONDS + 60) == 1
    assert not state.exists()
    assert other.exists()
    assert house.runner.commands[-1] == DeleteCache(CHAT)
    assert await house.chats.get(1, CHAT) is None


@pytest.mark.parametrize(("disk_mb", "stay"), [(100, {CHAT}), (0, set())])
async def test_kv_states_that_a_crash_left_are_deleted_at_the_start(
    tmp_path: Path, shelf: ModelStore, disk_mb: int, stay: set[str]
) -> None:
    [model] = shelf.models()
    folder = tmp_path / "kv" / model_key(model.digest, model.size)
    folder.mkdir(parents=True)
    for chat in (CHAT, OTHER):
        (folder / f"{chat_key(chat)}.kv").touch()
    async with built(tmp_path, shelf, kv_disk_mb=disk_mb) as house:
        await house.db.write(lambda c: chat_rows.create(c, CHAT, 1, "Foxes", "tiny", 0.0))
        watch = asyncio.create_task(Trash(house.db, house.pool, house.hub).run())
        await until(lambda: len(list(folder.iterdir())) == len(stay))
        watch.cancel()
    assert {path.stem for path in folder.iterdir()} == {chat_key(chat) for chat in stay}


async def test_emptying_the_trash_leaves_other_chats_and_other_users(house: House) -> None:
    trash = Trash(house.db, house.pool, house.hub)
    for chat, client_id in ((CHAT, "client01"), (OTHER, "client02")):
        house.runner.say(finished(await house.ask("hello", client_id, chat)))
    await house.chats.delete(1, CHAT)
    for user_id, chat_id in ((2, CHAT), (1, OTHER)):
        with pytest.raises(ChatNotFound):
            await trash.remove(user_id, chat_id)
    assert await trash.empty(2) == 0
    assert await trash.empty(1) == 1
    assert [chat.id for chat in await house.chats.recent(1)] == [OTHER]


async def test_an_answer_that_nobody_saw_is_unread_until_its_chat_is_opened(house: House) -> None:
    async def is_unread() -> bool:
        chat = await house.chats.get(1, CHAT)
        assert chat is not None
        return bool(chat.is_unread)

    stranger = house.hub.subscribe(2, CHAT)
    answer = await house.ask()
    house.runner.say(finished(answer))
    await house.ended(answer)
    assert await is_unread()
    await house.chats.mark_read(1, CHAT)
    assert not await is_unread()
    house.hub.subscribe(1, CHAT)
    answer = await house.ask("again", "client02")
    house.runner.say(finished(answer))
    await house.ended(answer)
    assert not await is_unread()
    assert not stranger.sidebar


async def test_a_path_through_a_message_on_another_branch_is_shown(house: House) -> None:
    answer = await house.ask()
    house.runner.say(finished(answer))
    await house.ended(answer)

    async def branch(connection: aiosqlite.Connection) -> int:
        left = await messages.add_user(connection, 1, CHAT, answer, "left", "c2", 3.0)
        end = await messages.add_answer(connection, 1, CHAT, left, "tiny", 3.0)
        await messages.finish(connection, 1, end, "done", "left end", 4.0)
        right = await messages.add_user(connection, 1, CHAT, answer, "right", "c3", 3.0)
        await chat_rows.advance(connection, 1, CHAT, right, "tiny", 5.0)
        return left

    left = await house.db.write(branch)
    with pytest.raises(ChatNotFound):
        await house.chats.show_path_to(2, CHAT, left)
    await house.chats.show_path_to(1, CHAT, 999_999)
    assert (await house.path())[-1].text == "right"
    await house.chats.show_path_to(1, CHAT, left)
    assert [m.text for m in await house.path()][-2:] == ["left", "left end"]


async def test_a_subscriber_hears_only_of_its_own_user_and_chat(house: House) -> None:
    mine, other_chat = house.hub.subscribe(1, CHAT), house.hub.subscribe(1, OTHER)
    stranger = house.hub.subscribe(2, CHAT)
    answer = await house.ask()
    house.runner.say(Delta(answer, "secret"))
    await until(lambda: answer in mine.streams)
    assert mine.messages
    assert other_chat.sidebar
    assert not other_chat.messages
    assert not other_chat.streams
    assert not stranger.messages
    assert not stranger.sidebar
    assert not stranger.streams
