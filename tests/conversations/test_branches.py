"""The verbs that make, show and remove branches of a chat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app.conversations.answer_state import AnswerRef, LiveAnswer, MessageRef
from app.db import branches
from app.errors import ChatBusy, ChatNotFound, InvalidMessage, MessageNotFound, ModelNotFound
from app.inference.protocol import Cancel, Delta, Finished, Generate, Prefill
from app.models.model import Turn
from app.models.store import ModelStore
from tests.conversations.services import CHAT, OTHER, House, finished
from tests.patience import until


def at(message_id: int, user_id: int = 1, chat_id: str = CHAT) -> MessageRef:
    return MessageRef(user_id, chat_id, message_id)


async def begun(house: House) -> int:
    """Returns the id of the answer that the runner has got now, at the end of the path."""
    answer = (await house.path())[-1].id
    await until(lambda: bool(house.hub.stream(answer)) and house.runner.sent[-1].id == answer)
    return answer


async def answered(house: House, text: str, reason: str = "stop") -> int:
    answer = await begun(house)
    house.runner.say(Delta(answer, text), finished(answer, reason))
    await until(lambda: house.hub.stream(answer) is None)
    return answer


async def talk(house: House, *pairs: tuple[str, str]) -> list[int]:
    """Prompts with their answers, one after another. The ids of all messages."""
    for number, (asked, said) in enumerate(pairs):
        await house.ask(asked, f"client{number:02}")
        await answered(house, said)
    return [message.id for message in await house.path()]


async def texts(house: House) -> list[str]:
    return [message.text for message in await house.path()]


def last_command(house: House) -> Generate:
    command = house.runner.sent[-1]
    assert isinstance(command, Generate)
    return command


async def test_another_answer_stands_beside_the_first(house: House) -> None:
    prompt, first = await talk(house, ("one", "uno"))
    await house.branches.regenerate(at(first), "again001")
    second = await answered(house, "eins")
    assert last_command(house).turns == (Turn("user", "one"),)
    assert await texts(house) == ["one", "eins"]
    chat = await house.chats.get(1, CHAT)
    forks = await house.chats.siblings(chat)
    path = await house.path()
    assert [(forks.of(m).number, forks.of(m).count) for m in path] == [(1, 1), (2, 2)]
    assert forks.of(path[1]).before == first
    assert forks.of(path[1]).newest == second
    assert path[1].parent_id == prompt


async def test_later_messages_stand_after_earlier_ones_even_when_the_clock_was_set_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await talk(house, ("one", "uno"))
    monkeypatch.setattr("app.conversations.branches.time.time", lambda: 1.0)
    await house.branches.regenerate(at(first), "again001")
    second = await answered(house, "eins")
    forks = await house.chats.siblings(await house.chats.get(1, CHAT))
    assert forks.of((await house.path())[1]).before == first
    await house.branches.remove(at(second))
    assert await texts(house) == ["one", "uno"]


async def test_regenerating_five_times_at_once_makes_one_answer(house: House) -> None:
    _, first = await talk(house, ("one", "uno"))
    await asyncio.gather(*(house.branches.regenerate(at(first), "again001") for _ in range(5)))
    await answered(house, "eins")
    await house.branches.regenerate(at(first), "again001")  # heard late
    forks = await house.chats.siblings(await house.chats.get(1, CHAT))
    assert [len(ids) for ids in forks.by_parent.values()] == [2]


async def test_an_answer_in_the_middle_may_be_regenerated(house: House) -> None:
    ids = await talk(house, ("one", "uno"), ("two", "due"))
    await house.branches.regenerate(at(ids[1]), "again001")
    await answered(house, "eins")
    assert await texts(house) == ["one", "eins"]
    await house.branches.select_branch(at(ids[1]))
    assert await texts(house) == ["one", "uno", "two", "due"]


async def test_a_prompt_without_an_answer_is_answered(house: House) -> None:
    prompt, answer = await talk(house, ("one", "uno"))
    await house.branches.remove(at(answer))
    assert await texts(house) == ["one"]
    await house.branches.regenerate(at(prompt), "again001")
    await answered(house, "eins")
    assert await texts(house) == ["one", "eins"]


async def test_another_model_answers_and_the_chat_keeps_its_own(
    house: House, shelf: ModelStore
) -> None:
    other = shelf.root / "other"
    if not other.exists():
        other.symlink_to(shelf.root / "tiny")
    try:
        _, first = await talk(house, ("one", "uno"))
        await house.branches.regenerate(at(first), "again001", "other")
        second = await begun(house)
        assert (await house.path())[-1].model == "other"
        chat = await house.chats.get(1, CHAT)
        assert chat is not None
        assert chat.model == "tiny"
    finally:
        other.unlink()
    with pytest.raises(ModelNotFound):
        await house.branches.regenerate(at(second), "again002")


async def test_an_edited_prompt_is_a_branch_of_its_own(house: House) -> None:
    ids = await talk(house, ("one", "uno"), ("tow", "?"), ("three", "tre"))
    await house.branches.edit(at(ids[2]), "two", "client99")
    await answered(house, "due")
    assert await texts(house) == ["one", "uno", "two", "due"]
    assert [turn.content for turn in last_command(house).turns] == ["one", "uno", "two"]
    await house.branches.edit(at(ids[2]), "two", "client99")  # the same again
    forks = await house.chats.siblings(await house.chats.get(1, CHAT))
    assert forks.of((await house.path())[2]).count == 2
    await house.branches.select_branch(at(ids[2]))
    assert await texts(house) == ["one", "uno", "tow", "?", "three", "tre"]


async def test_the_first_prompt_may_be_edited(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    await house.branches.edit(at(ids[0]), "two", "client99")
    await answered(house, "due")
    assert await texts(house) == ["two", "due"]
    forks = await house.chats.siblings(await house.chats.get(1, CHAT))
    assert forks.of((await house.path())[0]).before == ids[0]


async def test_editing_stops_what_is_being_answered(house: House) -> None:
    first = await house.ask("tow", "client01")
    await house.asking.submit(house.prompt("and more", "client02"))
    path = await house.path()
    await house.branches.edit(at(path[0].id), "two", "client99")
    await until(lambda: len(house.runner.sent) == 2)  # the wish to stop
    house.runner.say(finished(first, "cancelled"))
    await answered(house, "due")
    assert await texts(house) == ["two", "due"]
    await house.branches.select_branch(at(path[0].id))
    assert [m.status for m in await house.path()] == ["done", "stopped", "done", "stopped"]


async def test_an_edit_that_waits_can_be_taken_back(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    running = await house.ask("more", "client50")
    await house.branches.edit(at(ids[0]), "two", "client99")
    new = (await house.path())[-1].id
    assert await house.asking.withdraw(1, CHAT, new) == "two"
    assert [m.id for m in await house.path()][-1] == running
    house.runner.say(finished(running, "cancelled"))
    await until(lambda: house.hub.stream(running) is None)


@pytest.mark.parametrize("text", ["", " \n "])
async def test_an_edit_to_nothing_is_refused(house: House, text: str) -> None:
    ids = await talk(house, ("one", "uno"))
    with pytest.raises(InvalidMessage):
        await house.branches.edit(at(ids[0]), text, "client99")
    with pytest.raises(MessageNotFound, match="Only your own"):
        await house.branches.edit(at(ids[1]), "I said so", "client98")


async def test_a_cut_answer_goes_on_where_it_was(house: House) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "un", "length")
    await house.branches.continue_answer(at(answer))
    again = await begun(house)
    assert again == answer
    assert (last_command(house).opening, last_command(house).turns) == (
        "un",
        (Turn("user", "one"),),
    )
    stream = house.hub.stream(answer)
    assert stream is not None
    assert stream.text == "un"
    await answered(house, "o due")
    [_, message] = await house.path()
    assert (message.text, message.status, message.finish_reason) == ("uno due", "done", "stop")
    with pytest.raises(ChatBusy, match="complete"):
        await house.branches.continue_answer(at(answer))


async def test_continuing_an_answer_twice_at_once_runs_once(house: House) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "un", "length")
    results = await asyncio.gather(
        *(house.branches.continue_answer(at(answer)) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [AnswerRef, ChatBusy, ChatBusy]
    await answered(house, "o")
    assert await texts(house) == ["one", "uno"]


async def test_a_continued_answer_drops_half_a_character_at_its_end(house: House) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "u\ufffd", "cancelled")
    await house.branches.continue_answer(at(answer))
    await answered(house, "n")
    assert await texts(house) == ["one", "un"]


async def test_an_answer_that_goes_on_keeps_its_text_when_the_runner_dies(house: House) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "un", "length")
    await house.branches.continue_answer(at(answer))
    await begun(house)
    house.runner.say(Delta(answer, "o"))
    await until(lambda: house.hub.stream(answer).text == "uno")  # type: ignore[union-attr]
    house.runner.die()
    saved = await house.ended(answer)
    assert (saved.status, saved.text) == ("interrupted", "uno")


async def test_an_answer_that_goes_on_keeps_its_text_when_wick_dies(house: House) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "un", "length")
    await house.branches.continue_answer(at(answer))
    await begun(house)
    house.runner.say(Prefill(answer, 1, 9, 0, 0))
    await until(lambda: house.hub.streams()[0].status == "prefill")
    await house.asking.tasks.drain(5)
    await house.chats.recover_interrupted()
    [_, message] = await house.path()
    assert (message.status, message.text) == ("interrupted", "un")


async def test_the_figures_of_a_continued_answer_are_those_of_all_its_runs(
    house: House,
) -> None:
    await house.ask("one", "client01")
    answer = await begun(house)
    runs = [
        Finished(answer, "length", 100, 40, 20, 1.0, 2.0, 0),
        Finished(answer, "length", 120, 118, 30, 0.1, 3.0, 0),
        Finished(answer, "stop", 150, 148, 10, 0.1, 1.0, 0),
    ]
    for run in runs:
        house.runner.say(Delta(answer, "un "), run)
        before = await house.ended(answer)
        if run.reason == "length":
            await house.branches.continue_answer(at(answer))
            await begun(house)
    assert before.text == "un un un "
    # 60 tokens had to be read at first, then 2 and 2 more: all the others came from memory.
    assert (before.prompt_tokens, before.cached_tokens) == (100, 36)
    assert before.completion_tokens == 60
    assert (before.prefill_seconds, before.decode_seconds) == pytest.approx((1.2, 6.0))


async def test_an_edit_and_a_message_at_once_are_both_kept(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    await asyncio.gather(
        house.branches.edit(at(ids[0]), "two", "client99"),
        house.asking.submit(house.prompt("more", "client50")),
    )
    await until(lambda: bool(house.runner.sent))
    said = {row["text"] for row in await house.db.fetch_all("SELECT text FROM messages")}
    assert {"one", "uno", "two", "more"} <= said
    shown = await texts(house)
    assert "two" in shown or "more" in shown
    for _ in range(2):  # whichever was first may have been stopped by the other
        house.runner.say(*(finished(c.id) for c in house.runner.sent if isinstance(c, Generate)))
        await asyncio.sleep(0)
    await until(lambda: house.hub.running <= 1)
    if house.hub.running:
        await answered(house, "due")
    rows = await house.db.fetch_all("SELECT status FROM messages WHERE role = 'assistant'")
    assert "queued" not in {row["status"] for row in rows}


async def test_each_request_returns_its_own_answer_whatever_else_is_sent_meanwhile(
    house: House,
) -> None:
    ids = await talk(house, ("one", "uno"))
    asked = {f"text {number}": f"client{number:02}" for number in range(50, 58)}
    edits = [house.branches.edit(at(ids[0]), text, client) for text, client in asked.items()]
    said = house.asking.submit(house.prompt("more", "client60"))
    *edited, more = await asyncio.gather(*edits, said)
    for text, ref in [*zip(asked, edited, strict=True), ("more", more)]:
        assert ref.prompt_id is not None
        prompt = await house.branches.get(at(ref.prompt_id))
        answer = await house.branches.get(at(ref.answer_id))
        assert (prompt.text, answer.parent_id) == (text, prompt.id)
    again = await house.branches.edit(at(ids[0]), "text 50", asked["text 50"])
    assert again == edited[0]  # although the chat shows another branch
    await house.asking.stop_all(1, CHAT)
    house.runner.say(*(finished(c.id) for c in house.runner.sent if isinstance(c, Generate)))
    await until(lambda: not house.hub.running)


async def test_regenerating_and_continuing_return_their_answers(house: House) -> None:
    prompt, first = await talk(house, ("one", "uno"))
    second = await house.branches.regenerate(at(first), "again001")
    assert await house.branches.regenerate(at(first), "again001") == second
    assert second == AnswerRef(CHAT, prompt, await answered(house, "eins", "length"))
    assert await house.branches.continue_answer(at(second.answer_id)) == second
    await answered(house, "zwei")
    assert await house.asking.submit(house.prompt("one", "client00")) == AnswerRef(
        CHAT, prompt, first
    )


async def test_a_submission_whose_answer_was_deleted_is_not_found(house: House) -> None:
    prompt, first = await talk(house, ("one", "uno"))
    await house.branches.regenerate(at(first), "again001")
    second = await answered(house, "eins")
    await house.branches.remove(at(first))
    assert (await house.asking.submit(house.prompt("one", "client00"))).answer_id == second
    await house.branches.remove(at(second))
    await branches.purge_removals(house.db, time.time() + 1)
    with pytest.raises(MessageNotFound):
        await house.asking.submit(house.prompt("one", "client00"))
    assert [message.id for message in await house.path()] == [prompt]


async def test_a_continued_answer_has_a_stream_of_its_own(house: House) -> None:
    old, new = LiveAnswer(7, CHAT, 1, "tiny"), LiveAnswer(7, CHAT, 1, "tiny")
    house.hub.add(old)
    house.hub.add(new)
    house.hub.remove(old)
    assert house.hub.stream(7) is new
    house.hub.remove(new)


async def test_an_answer_that_never_gets_to_go_on_keeps_its_figures(house: House) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "un", "length")
    [_, before] = await house.path()
    await house.branches.continue_answer(at(answer))
    await begun(house)
    house.runner.say(Finished(answer, "cancelled", 0, 0, 0, 0.0, 0.0, 0))
    after = await house.ended(answer)
    assert (after.status, after.text) == ("stopped", "un")
    assert (after.prompt_tokens, after.completion_tokens) == (9, 2)
    assert after.first_token_seconds == before.first_token_seconds


async def test_only_a_cut_answer_that_stands_last_can_be_continued(house: House) -> None:
    await house.ask("one", "client01")
    cut = await answered(house, "un", "length")
    await house.ask("two", "client02")
    empty = await begun(house)
    with pytest.raises(ChatBusy):  # while an answer runs
        await house.branches.continue_answer(at(cut))
    house.runner.say(finished(empty, "cancelled"))
    await house.ended(empty)
    with pytest.raises(ChatBusy, match="not the last answer"):
        await house.branches.continue_answer(at(cut))
    with pytest.raises(ChatBusy, match="nothing to continue"):
        await house.branches.continue_answer(at(empty))


async def test_deleting_one_branch_shows_the_other(house: House) -> None:
    ids = await talk(house, ("one", "uno"), ("two", "due"))
    await house.branches.regenerate(at(ids[1]), "again001")
    second = await answered(house, "eins")
    await house.branches.remove(at(second))
    assert await texts(house) == ["one", "uno", "two", "due"]
    await house.branches.restore(at(second))
    assert await texts(house) == ["one", "eins"]
    with pytest.raises(MessageNotFound, match="too late"):
        await house.branches.restore(at(second))


async def test_a_deleted_branch_comes_back_whole(house: House) -> None:
    ids = await talk(house, ("one", "uno"), ("two", "due"), ("three", "tre"))
    await house.branches.remove(at(ids[2]))
    assert await texts(house) == ["one", "uno"]
    await house.ask("four", "client50")
    four = await answered(house, "quattro")
    assert four not in ids  # an id never comes again
    await house.branches.restore(at(ids[2]))
    assert await texts(house) == ["one", "uno", "two", "due", "three", "tre"]
    assert [m.id for m in await house.path()] == ids


async def test_deleting_everything_leaves_an_empty_chat_that_goes_on(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    await house.branches.remove(at(ids[0]))
    assert await house.path() == []
    await house.ask("two", "client50")
    await answered(house, "due")
    assert await texts(house) == ["two", "due"]
    await house.branches.restore(at(ids[0]))
    assert await texts(house) == ["one", "uno"]


async def test_a_branch_below_a_message_that_is_gone_cannot_come_back(house: House) -> None:
    ids = await talk(house, ("one", "uno"), ("two", "due"))
    await house.branches.remove(at(ids[3]))
    await house.branches.remove(at(ids[0]))
    with pytest.raises(MessageNotFound):
        await house.branches.restore(at(ids[3]))
    await house.branches.restore(at(ids[0]))
    await house.branches.restore(at(ids[3]))
    assert await texts(house) == ["one", "uno", "two", "due"]


async def test_no_branch_that_is_being_written_is_deleted(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    await house.ask("two", "client50")
    running = await begun(house)
    for message_id in (ids[0], ids[1], running):
        with pytest.raises(ChatBusy):
            await house.branches.remove(at(message_id))
    with pytest.raises(ChatBusy):
        await house.branches.regenerate(at(ids[1]), "again001")
    house.runner.say(finished(running))
    await house.ended(running)


async def test_a_branch_shows_its_newest_path(house: House) -> None:
    ids = await talk(house, ("one", "uno"), ("two", "due"))
    await house.branches.edit(at(ids[2]), "three", "client97")
    await answered(house, "tre")
    await house.branches.edit(at(ids[0]), "four", "client98")
    await answered(house, "quattro")
    await house.branches.select_branch(at(ids[0]))
    assert await texts(house) == ["one", "uno", "three", "tre"]


async def test_the_next_prompt_follows_the_branch_that_is_shown(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    await house.branches.regenerate(at(ids[1]), "again001")
    await answered(house, "eins")
    await house.branches.select_branch(at(ids[1]))
    await house.ask("two", "client50")
    assert [turn.content for turn in last_command(house).turns] == ["one", "uno", "two"]
    await answered(house, "due")


Verb = Callable[[House, MessageRef], Awaitable[object]]
VERBS: list[Verb] = [
    lambda house, spot: house.branches.regenerate(spot, "again001"),
    lambda house, spot: house.branches.edit(spot, "words", "client99"),
    lambda house, spot: house.branches.continue_answer(spot),
    lambda house, spot: house.branches.select_branch(spot),
    lambda house, spot: house.branches.remove(spot),
    lambda house, spot: house.branches.restore(spot),
]


@pytest.mark.parametrize("verb", VERBS)
async def test_other_users_and_unknown_ids_reach_no_branch(house: House, verb: Verb) -> None:
    ids = await talk(house, ("one", "uno"))
    await house.ask("other", "client60", OTHER)
    other = (await house.path(OTHER))[-1]
    house.runner.say(finished(other.id))
    await until(lambda: house.hub.stream(other.id) is None)
    before = await house.path()
    for spot in (at(ids[0], user_id=2), at(ids[0], chat_id="00000000000000ff")):
        with pytest.raises(ChatNotFound):
            await verb(house, spot)
    for spot in (at(999), at(other.id), at(ids[0], chat_id=OTHER)):
        with pytest.raises(MessageNotFound):
            await verb(house, spot)
    assert await house.path() == before


@pytest.mark.parametrize("verb", VERBS)
async def test_branches_of_a_chat_in_the_trash_cannot_change(house: House, verb: Verb) -> None:
    await house.ask("one", "client01")
    answer = await answered(house, "un", "length")
    await house.chats.delete(1, CHAT)
    message = (await house.path())[0].id if verb is VERBS[1] else answer
    with pytest.raises(ChatBusy, match="trash"):
        await verb(house, at(message))


async def test_subscribers_hear_of_another_branch(house: House) -> None:
    ids = await talk(house, ("one", "uno"))
    mine, strange = house.hub.subscribe(1, CHAT), house.hub.subscribe(2, CHAT)
    await house.branches.select_branch(at(ids[1]))
    assert mine.messages
    assert not strange.messages


async def test_stop_ends_an_answer_in_the_queue_and_while_it_is_read(
    house: House,
) -> None:
    first = await house.ask("one", "client01")
    house.runner.say(Prefill(first, 10, 900, 0, 0))
    await until(lambda: house.hub.stream(first).status == "prefill")  # type: ignore[union-attr]
    for number in range(1, house.runner.loaded.slots):
        await house.ask("also", f"client{number:02}", f"{number:016x}")
    await house.asking.submit(house.prompt("other", "client99", OTHER))
    queued = (await house.path(OTHER))[-1].id
    await house.asking.stop(1, OTHER)
    assert (await house.ended(queued)).status == "stopped"
    await house.asking.stop(1, CHAT)
    assert house.runner.sent[-1] == Cancel(first)
    house.runner.say(finished(first, "cancelled"))
    assert (await house.ended(first)).status == "stopped"
