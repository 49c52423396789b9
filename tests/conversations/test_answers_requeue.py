"""A question that had not begun when Wick ended is answered after its next start."""

from __future__ import annotations

from pathlib import Path

import aiosqlite
import pytest

from app.conversations.submission import save_prompt
from app.db import chats, messages, unfinished
from app.db.messages import Message
from app.db.unfinished import INTERRUPTED_REASON, MAX_RESTARTS, UNANSWERED_REASON
from app.errors import ChatNotFound
from app.inference.process import RunnerProcess
from app.inference.protocol import Delta, Generate, Prefill
from app.models.store import ModelStore
from tests.conversations.services import CHAT, OTHER, ScriptedServices, built, finished
from tests.inference.scripted import ScriptedRunner
from tests.patience import until


async def left(
    services: ScriptedServices, *asked: tuple[str, str], model: str = "tiny"
) -> list[int]:
    """What a Wick that was killed leaves on the disk of these questions. The answers' ids."""
    ids = []
    for number, (chat, text) in enumerate(asked):
        prompt = services.prompt(text, f"left{number:04}", chat)
        saved = await services.db.write(lambda c, p=prompt: save_prompt(c, p, p.text, "{}"))  # type: ignore[misc]
        ids.append(saved.ref.answer_id)
    if model != "tiny":
        await services.db.write(lambda c: rename(c, model))
    return ids


async def rename(connection: aiosqlite.Connection, model: str) -> None:
    await connection.execute("UPDATE messages SET model = ? WHERE model IS NOT NULL", (model,))


async def start(services: ScriptedServices) -> None:
    await services.chats.recover_interrupted()
    await services.answers.requeue()


async def message(services: ScriptedServices, answer: int) -> Message:
    rows = await services.db.fetch_all("SELECT * FROM messages WHERE id = ?", (answer,))
    return messages.message_of(rows[0])


def sent(services: ScriptedServices) -> dict[int, Generate]:
    return {
        command.id: command for command in services.runner.sent if isinstance(command, Generate)
    }


async def test_waiting_prompts_are_answered_in_their_old_order_after_a_restart(
    services: ScriptedServices,
) -> None:
    first, other, second = await left(services, (CHAT, "one"), (OTHER, "apart"), (CHAT, "two"))
    await start(services)
    streams = {stream.message_id: stream for stream in services.hub.streams()}
    assert list(streams) == [first, other, second]
    await until(lambda: not streams[first].is_pending and not streams[other].is_pending)
    assert streams[second].is_pending
    await until(lambda: first in sent(services))
    assert second not in sent(services)
    services.runner.say(Delta(first, "uno"), finished(first))
    assert (await services.ended(first)).text == "uno"
    await until(lambda: other in sent(services))
    services.runner.say(finished(other))
    await until(lambda: second in sent(services))
    services.runner.say(Delta(second, "dos"), finished(second))
    assert (await services.ended(second)).status == "done"
    turns = sent(services)[second].turns
    assert [turn.content for turn in turns] == ["one", "uno", "two"]


async def test_a_requeued_prompt_can_be_taken_back(services: ScriptedServices) -> None:
    first, second = await left(services, (CHAT, "one"), (CHAT, "two"))
    await start(services)
    await until(lambda: first in sent(services))
    with pytest.raises(ChatNotFound):
        await services.answers.withdraw(2, CHAT, second)
    assert await services.answers.withdraw(1, CHAT, second) == ("two", [])
    assert [m.text for m in await services.path()] == ["one", ""]


async def test_a_restart_ends_an_answer_that_had_begun_but_not_those_after_it(
    services: ScriptedServices,
) -> None:
    first, second = await left(services, (CHAT, "one"), (CHAT, "two"))
    await services.db.write(lambda c: messages.checkpoint(c, 1, first, "un", 1.0))
    await start(services)
    begun = await message(services, first)
    assert (begun.status, begun.text, begun.error) == ("interrupted", "un", INTERRUPTED_REASON)
    await until(lambda: list(sent(services)) == [second])
    assert [turn.content for turn in sent(services)[second].turns] == ["one", "un", "two"]


async def test_an_answer_whose_prompt_was_read_counts_as_begun(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Prefill(answer, 1, 9, 0, 0))
    await until(lambda: services.hub.streams()[0].status == "prefill")
    await services.answers.tasks.drain(5)
    rows = await services.db.fetch_all("SELECT message_id, text FROM checkpoints")
    assert [tuple(row) for row in rows] == [(answer, "")]
    await services.chats.recover_interrupted()
    assert (await message(services, answer)).status == "interrupted"


async def test_a_queued_continuation_goes_on_after_a_restart(services: ScriptedServices) -> None:
    (answer,) = await left(services, (CHAT, "one"))
    await services.db.write(
        lambda c: messages.finish(
            *(c, 1, answer, "stopped", "Once upon", 2.0),
            counts={"completion_tokens": 2, "prompt_tokens": 5},
        )
    )
    await services.db.write(lambda c: messages.requeue(c, 1, answer, "Once upon", "{}"))
    await start(services)
    await until(lambda: len(sent(services)) == 1)
    assert sent(services)[answer].opening == "Once upon"
    services.runner.say(Prefill(answer, 9, 9, 0, 0), Delta(answer, " a time"), finished(answer))
    saved = await services.ended(answer)
    assert (saved.text, saved.completion_tokens) == ("Once upon a time", 2 + 2)


async def test_a_requeued_answer_of_a_missing_model_fails_with_a_sentence(
    services: ScriptedServices,
) -> None:
    (answer,) = await left(services, (CHAT, "one"), model="gone")
    await start(services)
    saved = await services.ended(answer)
    assert saved.status == "failed"
    assert saved.error is not None
    assert "“gone” is not installed" in saved.error


async def test_an_answer_that_crashes_wick_is_not_requeued_without_end(
    services: ScriptedServices,
) -> None:
    deadly, behind, apart = await left(services, (CHAT, "one"), (CHAT, "two"), (OTHER, "apart"))
    for _ in range(MAX_RESTARTS):
        await services.chats.recover_interrupted()
        owed = [message.id for _, message in await unfinished.list_queued(services.db)]
        assert owed == [deadly, behind, apart]
    await services.db.write(lambda c: messages.finish(c, 1, apart, "done", "", 3.0))
    await services.chats.recover_interrupted()
    ended = await message(services, deadly)
    assert (ended.status, ended.error) == ("interrupted", UNANSWERED_REASON)
    assert (await message(services, behind)).status == "queued"


async def test_an_orderly_stop_does_not_count_as_a_crash(services: ScriptedServices) -> None:
    (answer,) = await left(services, (CHAT, "one"))
    for _ in range(MAX_RESTARTS + 2):
        await services.chats.recover_interrupted()
        await services.db.write(unfinished.reset_restart_counts)
    assert (await message(services, answer)).status == "queued"


async def test_answers_of_chats_in_the_trash_are_not_requeued(services: ScriptedServices) -> None:
    (answer,) = await left(services, (CHAT, "one"))
    await services.db.write(lambda c: chats.set_timestamp(c, 1, CHAT, "deleted_at", 1.0))
    await start(services)
    assert (await message(services, answer)).status == "interrupted"
    assert services.hub.streams() == []


async def test_a_stop_and_a_start_keep_the_order_of_the_queue(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the services itself, with all that its end and its beginning do."""
    runners = [ScriptedRunner(slots=1)]

    async def load(*_: object) -> ScriptedRunner:
        return runners[-1]

    monkeypatch.setattr(RunnerProcess, "start", load)
    async with built(tmp_path, store, slots=1) as before:
        before.runner = runners[-1]
        first = await before.ask("one", "client01")
        before.runner.say(Prefill(first, 0, 9, 0, 0))
        await until(lambda: before.hub.streams()[0].status == "prefill")
        await before.answers.submit(before.prompt("two", "client02"))
        await before.answers.submit(before.prompt("apart", "client03", OTHER))
    runners.append(ScriptedRunner(slots=1))  # the first one has ended, and would end what it gets
    async with built(tmp_path, store, slots=1) as after:
        await start(after)
        texts = {m.id: m.status for m in [*await after.path(), *await after.path(OTHER)]}
        assert list(texts.values()) == ["done", "interrupted", "done", "queued", "done", "queued"]
        assert await after.db.fetch_all("SELECT * FROM requeued WHERE times > 1") == []
        assert len(after.hub.streams()) == 2
