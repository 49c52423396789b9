"""The verbs that make, show and remove branches of a chat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app.conversations.answer_state import AnswerRef, LiveAnswer, MessageRef
from app.conversations.settings import ChatSettings
from app.db import branches
from app.errors import ChatBusy, ChatNotFound, InvalidMessage, MessageNotFound, ModelNotFound
from app.inference.protocol import Cancel, Delta, Finished, Generate, Prefill
from app.models.model import Turn
from app.models.store import ModelStore
from tests.conversations.services import CHAT, OTHER, ScriptedServices, finished
from tests.patience import until


def at(message_id: int, user_id: int = 1, chat_id: str = CHAT) -> MessageRef:
    return MessageRef(user_id, chat_id, message_id)


async def begun(services: ScriptedServices) -> int:
    """Returns the id of the answer that the runner has got now, at the end of the path."""
    answer = (await services.path())[-1].id
    await until(lambda: bool(services.hub.stream(answer)) and services.runner.sent[-1].id == answer)
    return answer


async def answered(services: ScriptedServices, text: str, reason: str = "stop") -> int:
    answer = await begun(services)
    services.runner.say(Delta(answer, text), finished(answer, reason))
    await until(lambda: services.hub.stream(answer) is None)
    return answer


async def is_over(services: ScriptedServices, answer: int) -> None:
    await until(lambda: services.hub.stream(answer) is None)


async def talk(services: ScriptedServices, *pairs: tuple[str, str]) -> list[int]:
    """Prompts with their answers, one after another. The ids of all messages."""
    for number, (asked, said) in enumerate(pairs):
        await services.ask(asked, f"client{number:02}")
        await answered(services, said)
    return [message.id for message in await services.path()]


async def texts(services: ScriptedServices) -> list[str]:
    return [message.text for message in await services.path()]


def last_command(services: ScriptedServices) -> Generate:
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    return command


async def test_another_answer_stands_beside_the_first(services: ScriptedServices) -> None:
    prompt, first = await talk(services, ("one", "uno"))
    await services.branches.regenerate(at(first), "again001")
    second = await answered(services, "eins")
    assert last_command(services).turns == (Turn("user", "one"),)
    assert await texts(services) == ["one", "eins"]
    chat = await services.chats.get(1, CHAT)
    siblings = await services.chats.siblings(chat)
    path = await services.path()
    assert [(siblings.of(m).number, siblings.of(m).count) for m in path] == [(1, 1), (2, 2)]
    assert siblings.of(path[1]).before == first
    assert siblings.of(path[1]).newest == second
    assert path[1].parent_id == prompt


async def test_later_messages_stand_after_earlier_ones_even_when_the_clock_was_set_back(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await talk(services, ("one", "uno"))
    monkeypatch.setattr("app.conversations.branches.time.time", lambda: 1.0)
    await services.branches.regenerate(at(first), "again001")
    second = await answered(services, "eins")
    siblings = await services.chats.siblings(await services.chats.get(1, CHAT))
    assert siblings.of((await services.path())[1]).before == first
    await services.branches.remove(at(second))
    assert await texts(services) == ["one", "uno"]


async def test_regenerating_five_times_at_once_makes_one_answer(services: ScriptedServices) -> None:
    _, first = await talk(services, ("one", "uno"))
    await asyncio.gather(*(services.branches.regenerate(at(first), "again001") for _ in range(5)))
    await answered(services, "eins")
    await services.branches.regenerate(at(first), "again001")  # heard late
    siblings = await services.chats.siblings(await services.chats.get(1, CHAT))
    assert [len(ids) for ids in siblings.by_parent.values()] == [2]


async def test_a_shorter_answer_keeps_what_it_was_asked_for(services: ScriptedServices) -> None:
    _, first = await talk(services, ("one", "uno due tre " * 10))
    await services.branches.regenerate(at(first), "again001", length="shorter")
    second = await answered(services, "eins", "length")
    (turn,) = last_command(services).turns
    assert turn.content.startswith("one\n\nAnswer briefly, in at most 20 words")
    # It goes on with the same instruction, and what comes later is asked after the same words.
    await services.branches.continue_answer(at(second))
    assert await answered(services, " zwei") == second
    assert last_command(services).turns == (turn,)
    await services.ask("two", "client09")
    await answered(services, "drei")
    assert last_command(services).turns[0] == turn
    assert await texts(services) == ["one", "eins zwei", "two", "drei"]
    # A plain answer beside it is asked plainly.
    await services.branches.regenerate(at(second), "again002")
    await answered(services, "vier")
    assert last_command(services).turns == (Turn("user", "one"),)
    await services.branches.regenerate(at(first), "again003", length="longer")
    await answered(services, "fünf")
    assert "in about 100 words" in last_command(services).turns[0].content


async def test_answers_to_one_prompt_are_made_at_once(services: ScriptedServices) -> None:
    """Tells models apart by their names; here all of them are the same one."""
    prompt, first = await talk(services, ("one", "uno"))
    second, third = await services.branches.compare(at(first), ["tiny", "tiny"], "compare01")
    assert second.prompt_id == third.prompt_id == prompt
    both = {second.answer_id, third.answer_id}
    await until(lambda: both <= {command.id for command in services.runner.sent})
    assert not any(services.hub.stream(one).is_pending for one in both)  # type: ignore[union-attr]
    again = await services.branches.compare(at(first), ["tiny", "tiny"], "compare01")
    assert again == [second, third]
    with pytest.raises(ModelNotFound):
        await services.branches.compare(at(first), ["nobody"], "compare02")
    # What is asked meanwhile waits for all of them.
    await services.answers.submit(services.prompt("two", "client09"))
    last = (await services.path())[-1].id
    for one, text in zip((third, second), ("eins", "ein"), strict=True):
        assert services.hub.stream(last).is_pending  # type: ignore[union-attr]
        answer = one.answer_id
        services.runner.say(Delta(answer, text), finished(answer, "stop"))
        await is_over(services, answer)
    await until(lambda: services.runner.sent[-1].id == last)
    services.runner.say(Delta(last, "zwei"), finished(last, "stop"))
    await until(lambda: services.hub.stream(last) is None)
    assert await texts(services) == ["one", "uno", "two", "zwei"]
    ids = [m.id for m in await services.branches.answers_to(at(prompt))]
    assert ids == [first, second.answer_id, third.answer_id]
    # Nothing is compared while another prompt is being answered, and Stop stops all.
    await services.ask("three", "client10")
    with pytest.raises(ChatBusy):
        await services.branches.compare(at(first), ["tiny"], "compare03")
    await services.answers.stop(1, CHAT)


async def test_an_answer_with_other_settings_leaves_those_of_the_chat_alone(
    services: ScriptedServices,
) -> None:
    _, first = await talk(services, ("one", "uno"))
    await services.chats.choose_settings(1, CHAT, ChatSettings(temperature=0.1))
    other = ChatSettings(temperature=1.5, system_prompt="Sing.")
    await services.branches.regenerate(at(first), "again001", chosen=other)
    await answered(services, "eins")
    assert last_command(services).sampling.temperature == 1.5
    assert last_command(services).turns == (Turn("system", "Sing."), Turn("user", "one"))
    await services.branches.regenerate(at(first), "again002")
    await answered(services, "zwei")
    assert last_command(services).sampling.temperature == 0.1


async def test_an_answer_in_the_middle_may_be_regenerated(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"), ("two", "due"))
    await services.branches.regenerate(at(ids[1]), "again001")
    await answered(services, "eins")
    assert await texts(services) == ["one", "eins"]
    await services.branches.select_branch(at(ids[1]))
    assert await texts(services) == ["one", "uno", "two", "due"]


async def test_a_prompt_without_an_answer_is_answered(services: ScriptedServices) -> None:
    prompt, answer = await talk(services, ("one", "uno"))
    await services.branches.remove(at(answer))
    assert await texts(services) == ["one"]
    await services.branches.regenerate(at(prompt), "again001")
    await answered(services, "eins")
    assert await texts(services) == ["one", "eins"]


async def test_another_model_answers_and_the_chat_keeps_its_own(
    services: ScriptedServices, store: ModelStore
) -> None:
    other = store.root / "other"
    if not other.exists():
        other.symlink_to(store.root / "tiny")
    try:
        _, first = await talk(services, ("one", "uno"))
        await services.branches.regenerate(at(first), "again001", "other")
        second = await begun(services)
        assert (await services.path())[-1].model == "other"
        chat = await services.chats.get(1, CHAT)
        assert chat is not None
        assert chat.model == "tiny"
    finally:
        other.unlink()
    with pytest.raises(ModelNotFound):
        await services.branches.regenerate(at(second), "again002")


async def test_an_edited_prompt_is_a_branch_of_its_own(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"), ("tow", "?"), ("three", "tre"))
    await services.branches.edit(at(ids[2]), "two", "client99")
    await answered(services, "due")
    assert await texts(services) == ["one", "uno", "two", "due"]
    assert [turn.content for turn in last_command(services).turns] == ["one", "uno", "two"]
    await services.branches.edit(at(ids[2]), "two", "client99")  # the same again
    siblings = await services.chats.siblings(await services.chats.get(1, CHAT))
    assert siblings.of((await services.path())[2]).count == 2
    await services.branches.select_branch(at(ids[2]))
    assert await texts(services) == ["one", "uno", "tow", "?", "three", "tre"]


async def test_the_first_prompt_may_be_edited(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"))
    await services.branches.edit(at(ids[0]), "two", "client99")
    await answered(services, "due")
    assert await texts(services) == ["two", "due"]
    siblings = await services.chats.siblings(await services.chats.get(1, CHAT))
    assert siblings.of((await services.path())[0]).before == ids[0]


async def test_editing_stops_what_is_being_answered(services: ScriptedServices) -> None:
    first = await services.ask("tow", "client01")
    await services.answers.submit(services.prompt("and more", "client02"))
    path = await services.path()
    await services.branches.edit(at(path[0].id), "two", "client99")
    await until(lambda: len(services.runner.sent) == 2)  # the request to stop
    services.runner.say(finished(first, "cancelled"))
    await answered(services, "due")
    assert await texts(services) == ["two", "due"]
    await services.branches.select_branch(at(path[0].id))
    assert [m.status for m in await services.path()] == ["done", "stopped", "done", "stopped"]


async def test_an_edit_that_waits_can_be_taken_back(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"))
    running = await services.ask("more", "client50")
    await services.branches.edit(at(ids[0]), "two", "client99")
    new = (await services.path())[-1].id
    assert await services.answers.withdraw(1, CHAT, new) == ("two", [])
    assert [m.id for m in await services.path()][-1] == running
    services.runner.say(finished(running, "cancelled"))
    await until(lambda: services.hub.stream(running) is None)


@pytest.mark.parametrize("text", ["", " \n "])
async def test_an_edit_to_nothing_is_refused(services: ScriptedServices, text: str) -> None:
    ids = await talk(services, ("one", "uno"))
    with pytest.raises(InvalidMessage):
        await services.branches.edit(at(ids[0]), text, "client99")
    with pytest.raises(MessageNotFound, match="Only your own"):
        await services.branches.edit(at(ids[1]), "I said so", "client98")


async def test_a_cut_answer_goes_on_where_it_was(services: ScriptedServices) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "un", "length")
    await services.branches.continue_answer(at(answer))
    again = await begun(services)
    assert again == answer
    assert (last_command(services).opening, last_command(services).turns) == (
        "un",
        (Turn("user", "one"),),
    )
    stream = services.hub.stream(answer)
    assert stream is not None
    assert stream.text == "un"
    await answered(services, "o due")
    [_, message] = await services.path()
    assert (message.text, message.status, message.finish_reason) == ("uno due", "done", "stop")
    with pytest.raises(ChatBusy, match="complete"):
        await services.branches.continue_answer(at(answer))


async def test_continuing_an_answer_twice_at_once_runs_once(services: ScriptedServices) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "un", "length")
    results = await asyncio.gather(
        *(services.branches.continue_answer(at(answer)) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [AnswerRef, ChatBusy, ChatBusy]
    await answered(services, "o")
    assert await texts(services) == ["one", "uno"]


async def test_a_continued_answer_drops_half_a_character_at_its_end(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "u\ufffd", "cancelled")
    await services.branches.continue_answer(at(answer))
    await answered(services, "n")
    assert await texts(services) == ["one", "un"]


async def test_an_answer_that_goes_on_keeps_its_text_when_the_runner_dies(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "un", "length")
    await services.branches.continue_answer(at(answer))
    await begun(services)
    services.runner.say(Delta(answer, "o"))
    await until(lambda: services.hub.stream(answer).text == "uno")  # type: ignore[union-attr]
    services.runner.die()
    saved = await services.ended(answer)
    assert (saved.status, saved.text) == ("interrupted", "uno")


async def test_an_answer_that_goes_on_keeps_its_text_when_wick_dies(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "un", "length")
    await services.branches.continue_answer(at(answer))
    await begun(services)
    services.runner.say(Prefill(answer, 1, 9, 0, 0))
    await until(lambda: services.hub.streams()[0].status == "prefill")
    await services.answers.tasks.drain(5)
    await services.chats.recover_interrupted()
    [_, message] = await services.path()
    assert (message.status, message.text) == ("interrupted", "un")


async def test_the_figures_of_a_continued_answer_are_those_of_all_its_runs(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client01")
    answer = await begun(services)
    runs = [
        Finished(answer, "length", 100, 40, 20, 1.0, 2.0, 0),
        Finished(answer, "length", 120, 118, 30, 0.1, 3.0, 0),
        Finished(answer, "stop", 150, 148, 10, 0.1, 1.0, 0),
    ]
    for run in runs:
        services.runner.say(Delta(answer, "un "), run)
        before = await services.ended(answer)
        if run.reason == "length":
            await services.branches.continue_answer(at(answer))
            await begun(services)
    assert before.text == "un un un "
    # 60 tokens had to be read at first, then 2 and 2 more: all the others came from memory.
    assert (before.prompt_tokens, before.cached_tokens) == (100, 36)
    assert before.completion_tokens == 60
    assert (before.prefill_seconds, before.decode_seconds) == pytest.approx((1.2, 6.0))


async def test_an_edit_and_a_message_at_once_are_both_kept(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"))
    await asyncio.gather(
        services.branches.edit(at(ids[0]), "two", "client99"),
        services.answers.submit(services.prompt("more", "client50")),
    )
    await until(lambda: bool(services.runner.sent))
    said = {row["text"] for row in await services.db.fetch_all("SELECT text FROM messages")}
    assert {"one", "uno", "two", "more"} <= said
    shown = await texts(services)
    assert "two" in shown or "more" in shown
    for _ in range(2):  # whichever was first may have been stopped by the other
        services.runner.say(
            *(finished(c.id) for c in services.runner.sent if isinstance(c, Generate))
        )
        await asyncio.sleep(0)
    await until(lambda: services.hub.running <= 1)
    if services.hub.running:
        await answered(services, "due")
    rows = await services.db.fetch_all("SELECT status FROM messages WHERE role = 'assistant'")
    assert "queued" not in {row["status"] for row in rows}


async def test_each_request_returns_its_own_answer_whatever_else_is_sent_meanwhile(
    services: ScriptedServices,
) -> None:
    ids = await talk(services, ("one", "uno"))
    asked = {f"text {number}": f"client{number:02}" for number in range(50, 58)}
    edits = [services.branches.edit(at(ids[0]), text, client) for text, client in asked.items()]
    said = services.answers.submit(services.prompt("more", "client60"))
    *edited, more = await asyncio.gather(*edits, said)
    for text, ref in [*zip(asked, edited, strict=True), ("more", more)]:
        assert ref.prompt_id is not None
        prompt = await services.branches.get(at(ref.prompt_id))
        answer = await services.branches.get(at(ref.answer_id))
        assert (prompt.text, answer.parent_id) == (text, prompt.id)
    again = await services.branches.edit(at(ids[0]), "text 50", asked["text 50"])
    assert again == edited[0]  # although the chat shows another branch
    await services.answers.stop_all(1, CHAT)
    services.runner.say(*(finished(c.id) for c in services.runner.sent if isinstance(c, Generate)))
    await until(lambda: not services.hub.running)


async def test_regenerating_and_continuing_return_their_answers(services: ScriptedServices) -> None:
    prompt, first = await talk(services, ("one", "uno"))
    second = await services.branches.regenerate(at(first), "again001")
    assert await services.branches.regenerate(at(first), "again001") == second
    assert second == AnswerRef(CHAT, prompt, await answered(services, "eins", "length"))
    assert await services.branches.continue_answer(at(second.answer_id)) == second
    await answered(services, "zwei")
    assert await services.answers.submit(services.prompt("one", "client00")) == AnswerRef(
        CHAT, prompt, first
    )


async def test_a_submission_whose_answer_was_deleted_is_not_found(
    services: ScriptedServices,
) -> None:
    prompt, first = await talk(services, ("one", "uno"))
    await services.branches.regenerate(at(first), "again001")
    second = await answered(services, "eins")
    await services.branches.remove(at(first))
    assert (await services.answers.submit(services.prompt("one", "client00"))).answer_id == second
    await services.branches.remove(at(second))
    await branches.purge_removals(services.db, time.time() + 1)
    with pytest.raises(MessageNotFound):
        await services.answers.submit(services.prompt("one", "client00"))
    assert [message.id for message in await services.path()] == [prompt]


async def test_a_continued_answer_has_a_stream_of_its_own(services: ScriptedServices) -> None:
    old, new = LiveAnswer(7, CHAT, 1, "tiny"), LiveAnswer(7, CHAT, 1, "tiny")
    services.hub.add(old)
    services.hub.add(new)
    services.hub.remove(old)
    assert services.hub.stream(7) is new
    services.hub.remove(new)


async def test_an_answer_that_never_gets_to_go_on_keeps_its_figures(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "un", "length")
    [_, before] = await services.path()
    await services.branches.continue_answer(at(answer))
    await begun(services)
    services.runner.say(Finished(answer, "cancelled", 0, 0, 0, 0.0, 0.0, 0))
    after = await services.ended(answer)
    assert (after.status, after.text) == ("stopped", "un")
    assert (after.prompt_tokens, after.completion_tokens) == (9, 2)
    assert after.first_token_seconds == before.first_token_seconds


async def test_only_a_cut_answer_that_stands_last_can_be_continued(
    services: ScriptedServices,
) -> None:
    await services.ask("one", "client01")
    cut = await answered(services, "un", "length")
    await services.ask("two", "client02")
    empty = await begun(services)
    with pytest.raises(ChatBusy):  # while an answer runs
        await services.branches.continue_answer(at(cut))
    services.runner.say(finished(empty, "cancelled"))
    await services.ended(empty)
    with pytest.raises(ChatBusy, match="not the last answer"):
        await services.branches.continue_answer(at(cut))
    with pytest.raises(ChatBusy, match="nothing to continue"):
        await services.branches.continue_answer(at(empty))


async def test_deleting_one_branch_shows_the_other(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"), ("two", "due"))
    await services.branches.regenerate(at(ids[1]), "again001")
    second = await answered(services, "eins")
    await services.branches.remove(at(second))
    assert await texts(services) == ["one", "uno", "two", "due"]
    await services.branches.restore(at(second))
    assert await texts(services) == ["one", "eins"]
    with pytest.raises(MessageNotFound, match="too late"):
        await services.branches.restore(at(second))


async def test_a_deleted_branch_comes_back_whole(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"), ("two", "due"), ("three", "tre"))
    await services.branches.remove(at(ids[2]))
    assert await texts(services) == ["one", "uno"]
    await services.ask("four", "client50")
    four = await answered(services, "quattro")
    assert four not in ids  # an id never comes again
    await services.branches.restore(at(ids[2]))
    assert await texts(services) == ["one", "uno", "two", "due", "three", "tre"]
    assert [m.id for m in await services.path()] == ids


async def test_deleting_everything_leaves_an_empty_chat_that_goes_on(
    services: ScriptedServices,
) -> None:
    ids = await talk(services, ("one", "uno"))
    await services.branches.remove(at(ids[0]))
    assert await services.path() == []
    await services.ask("two", "client50")
    await answered(services, "due")
    assert await texts(services) == ["two", "due"]
    await services.branches.restore(at(ids[0]))
    assert await texts(services) == ["one", "uno"]


async def test_a_branch_below_a_message_that_is_gone_cannot_come_back(
    services: ScriptedServices,
) -> None:
    ids = await talk(services, ("one", "uno"), ("two", "due"))
    await services.branches.remove(at(ids[3]))
    await services.branches.remove(at(ids[0]))
    with pytest.raises(MessageNotFound):
        await services.branches.restore(at(ids[3]))
    await services.branches.restore(at(ids[0]))
    await services.branches.restore(at(ids[3]))
    assert await texts(services) == ["one", "uno", "two", "due"]


async def test_no_branch_that_is_being_written_is_deleted(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"))
    await services.ask("two", "client50")
    running = await begun(services)
    for message_id in (ids[0], ids[1], running):
        with pytest.raises(ChatBusy):
            await services.branches.remove(at(message_id))
    with pytest.raises(ChatBusy):
        await services.branches.regenerate(at(ids[1]), "again001")
    services.runner.say(finished(running))
    await services.ended(running)


async def test_a_branch_shows_its_newest_path(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"), ("two", "due"))
    await services.branches.edit(at(ids[2]), "three", "client97")
    await answered(services, "tre")
    await services.branches.edit(at(ids[0]), "four", "client98")
    await answered(services, "quattro")
    await services.branches.select_branch(at(ids[0]))
    assert await texts(services) == ["one", "uno", "three", "tre"]


async def test_the_next_prompt_follows_the_branch_that_is_shown(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"))
    await services.branches.regenerate(at(ids[1]), "again001")
    await answered(services, "eins")
    await services.branches.select_branch(at(ids[1]))
    await services.ask("two", "client50")
    assert [turn.content for turn in last_command(services).turns] == ["one", "uno", "two"]
    await answered(services, "due")


Verb = Callable[[ScriptedServices, MessageRef], Awaitable[object]]
VERBS: list[Verb] = [
    lambda services, spot: services.branches.regenerate(spot, "again001"),
    lambda services, spot: services.branches.edit(spot, "words", "client99"),
    lambda services, spot: services.branches.continue_answer(spot),
    lambda services, spot: services.branches.select_branch(spot),
    lambda services, spot: services.branches.remove(spot),
    lambda services, spot: services.branches.restore(spot),
]


@pytest.mark.parametrize("verb", VERBS)
async def test_other_users_and_unknown_ids_reach_no_branch(
    services: ScriptedServices, verb: Verb
) -> None:
    ids = await talk(services, ("one", "uno"))
    await services.ask("other", "client60", OTHER)
    other = (await services.path(OTHER))[-1]
    services.runner.say(finished(other.id))
    await until(lambda: services.hub.stream(other.id) is None)
    before = await services.path()
    for spot in (at(ids[0], user_id=2), at(ids[0], chat_id="00000000000000ff")):
        with pytest.raises(ChatNotFound):
            await verb(services, spot)
    for spot in (at(999), at(other.id), at(ids[0], chat_id=OTHER)):
        with pytest.raises(MessageNotFound):
            await verb(services, spot)
    assert await services.path() == before


@pytest.mark.parametrize("verb", VERBS)
async def test_branches_of_a_chat_in_the_trash_cannot_change(
    services: ScriptedServices, verb: Verb
) -> None:
    await services.ask("one", "client01")
    answer = await answered(services, "un", "length")
    await services.chats.delete(1, CHAT)
    message = (await services.path())[0].id if verb is VERBS[1] else answer
    with pytest.raises(ChatBusy, match="trash"):
        await verb(services, at(message))


async def test_subscribers_hear_of_another_branch(services: ScriptedServices) -> None:
    ids = await talk(services, ("one", "uno"))
    mine, strange = services.hub.subscribe(1, CHAT), services.hub.subscribe(2, CHAT)
    await services.branches.select_branch(at(ids[1]))
    assert mine.messages
    assert not strange.messages


async def test_stop_ends_an_answer_in_the_queue_and_while_it_is_read(
    services: ScriptedServices,
) -> None:
    first = await services.ask("one", "client01")
    services.runner.say(Prefill(first, 10, 900, 0, 0))
    await until(lambda: services.hub.stream(first).status == "prefill")  # type: ignore[union-attr]
    for number in range(1, services.runner.loaded.slots):
        await services.ask("also", f"client{number:02}", f"{number:016x}")
    await services.answers.submit(services.prompt("other", "client99", OTHER))
    queued = (await services.path(OTHER))[-1].id
    await services.answers.stop(1, OTHER)
    assert (await services.ended(queued)).status == "stopped"
    await services.answers.stop(1, CHAT)
    assert services.runner.sent[-1] == Cancel(first)
    services.runner.say(finished(first, "cancelled"))
    assert (await services.ended(first)).status == "stopped"
