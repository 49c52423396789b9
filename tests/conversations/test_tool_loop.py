"""An answer that calls tools: it asks, they run, and it goes on with their results."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from app.conversations.answer_state import MessageRef
from app.conversations.history import first_in_context, to_turns
from app.conversations.tool_calls import (
    CUT,
    DENIED,
    ENDED,
    MAX_ARGUMENTS_CHARS,
    MAX_CALLS,
    MAX_CALLS_PER_STEP,
    MAX_RESULT_CHARS,
    STOPPED,
    CallRecord,
    parse_calls,
    sanitize_calls,
)
from app.db.messages import Message
from app.errors import ChatBusy, MessageNotFound
from app.inference.protocol import Delta, Generate, Prefill
from app.models.model import Turn
from app.models.store import ModelStore
from tests.conversations.services import CHAT, ScriptedServices, built, finished
from tests.conversations.tools import ScriptedTools, called, tool
from tests.patience import until


@pytest.fixture
async def tools(services: ScriptedServices) -> ScriptedTools:
    return await switched_on(services)


async def switched_on(services: ScriptedServices, *names: str) -> ScriptedTools:
    found = ScriptedTools(tool("add"), tool("look"), tool("clock", asks=False))
    services.toolbox.sources.append(found)
    names = names or ("add", "look", "clock")
    await services.answers.tools.chosen.choose(1, CHAT, names, ["add", "look", "clock"])
    return found


def requests(services: ScriptedServices) -> list[Generate]:
    return [command for command in services.runner.sent if isinstance(command, Generate)]


def calls_of(services: ScriptedServices, answer: int) -> tuple[CallRecord, ...]:
    stream = services.hub.stream(answer)
    return stream.calls if stream else ()


def statuses(services: ScriptedServices, answer: int) -> list[str]:
    return [call.status for call in calls_of(services, answer)]


async def stored(services: ScriptedServices, answer: int) -> Message:
    return await services.branches.get(MessageRef(1, CHAT, answer))


async def decide(
    services: ScriptedServices, answer: int, number: int = 0, decision: str = "allow"
) -> None:
    await services.answers.tools.decide(1, answer, number, decision)  # type: ignore[arg-type]


async def goes_on(services: ScriptedServices, times: int) -> Generate:
    await until(lambda: len(requests(services)) == times)
    return requests(services)[-1]


def say_call(services: ScriptedServices, answer: int, *names: str, text: str = "") -> None:
    deltas = tuple(called(n, name, '{"text": "7"}') for n, name in enumerate(names))
    services.runner.say(Delta(answer, text), Delta(answer, "", calls=deltas))
    services.runner.say(finished(answer, "tool_calls"))


async def test_a_call_is_asked_for_runs_and_the_answer_goes_on_with_its_result(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask("What is 3 + 4?")
    assert [spec.name for spec in requests(services)[0].tools] == ["add", "look", "clock"]
    say_call(services, answer, "add", text="Let me see.")
    await until(lambda: statuses(services, answer) == ["asking"])
    assert tools.calls == []
    await decide(services, answer)
    await until(lambda: statuses(services, answer) == ["running"])
    tools.give("add", "7")
    again = await goes_on(services, 2)
    assert again.turns == (
        Turn("user", "What is 3 + 4?"),
        Turn("assistant", "Let me see.", calls=again.turns[1].calls),
        Turn("tool", "7", call_id="id0add", tool="add"),
    )
    assert (again.opening, again.thought) == ("", "")
    assert again.turns[1].calls[0].arguments == '{"text": "7"}'
    services.runner.say(Delta(answer, "It is 7."), finished(answer))
    message = await services.ended(answer)
    assert (message.status, message.text) == ("done", "Let me see.\n\nIt is 7.")
    assert message.completion_tokens == 4
    (call,) = parse_calls(message.calls)
    assert (call.status, call.result, call.title) == ("done", "7", "Add")
    assert [context.chat_id for context, _, _ in tools.calls] == [CHAT]
    turns = to_turns(await services.path())
    assert [turn.role for turn in turns] == ["user", "assistant", "tool", "assistant"]


async def test_a_decision_that_comes_at_once_is_only_for_tools_that_are_on(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    """Before it is known which of the calls may run, none can be allowed."""
    answer = await services.ask()
    say_call(services, answer, "add", "unheard")
    await until(lambda: statuses(services, answer) != [])
    for number in (0, 1):
        with contextlib.suppress(ChatBusy):
            await decide(services, answer, number)
    assert statuses(services, answer) == ["running", "failed"]
    assert [call.title for call in calls_of(services, answer)] == ["Add", ""]
    tools.give("add", "1")
    await goes_on(services, 2)


async def test_a_denied_call_does_not_run_and_the_model_hears_of_it(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "add")
    await until(lambda: statuses(services, answer) == ["asking"])
    await decide(services, answer, 0, "deny")
    again = await goes_on(services, 2)
    assert again.turns[-1].content == DENIED
    assert tools.calls == []


async def test_always_allows_this_tool_in_this_chat_alone(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "add", "look", "add")
    await until(lambda: statuses(services, answer) == ["asking"] * 3)
    await decide(services, answer, 0, "always")
    await until(lambda: statuses(services, answer) == ["running", "asking", "running"])
    tools.give("add", "1")
    tools.give("add", "2")
    await decide(services, answer, 1, "deny")
    await goes_on(services, 2)
    say_call(services, answer, "add")
    await until(lambda: statuses(services, answer)[-1] == "running")
    tools.give("add", "3")
    await goes_on(services, 3)
    services.runner.say(Delta(answer, "ok"), finished(answer))
    message = await services.ended(answer)
    assert [call.step for call in parse_calls(message.calls)] == [0, 0, 0, 1]


async def test_a_decision_counts_once_and_only_its_users(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "add")
    await until(lambda: statuses(services, answer) == ["asking"])
    with pytest.raises(MessageNotFound):
        await services.answers.tools.decide(2, answer, 0, "allow")
    with pytest.raises(ChatBusy):
        await decide(services, answer, 5)
    await decide(services, answer)
    with pytest.raises(ChatBusy):
        await decide(services, answer, 0, "deny")


async def test_what_need_not_be_asked_for_runs_at_once(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    tools.give("clock", "noon")
    say_call(services, answer, "clock")
    assert (await goes_on(services, 2)).turns[-1].content == "noon"


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("rm", "{}", "no tool"),
        ("add", "[1]", "no JSON object"),
        ("add", "{" * 5000, "no JSON object"),
        ("add", "1" * (MAX_ARGUMENTS_CHARS + 1), "at most"),
    ],
)
async def test_a_call_that_cannot_run_is_no_question(
    services: ScriptedServices, tools: ScriptedTools, name: str, arguments: str, why: str
) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "", calls=(called(0, name, arguments),)))
    services.runner.say(finished(answer, "tool_calls"))
    assert why in (await goes_on(services, 2)).turns[-1].content
    assert tools.calls == []


async def test_a_tool_that_was_switched_off_meanwhile_does_not_run(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    await services.answers.tools.chosen.choose(1, CHAT, [], ["add", "look", "clock"])
    say_call(services, answer, "clock")
    assert "no tool" in (await goes_on(services, 2)).turns[-1].content
    assert tools.calls == []


async def test_calls_are_bounded(services: ScriptedServices, tools: ScriptedTools) -> None:
    answer, steps = await services.ask(), 0
    while requests(services)[-1].tool_choice == "auto":
        for _ in range(MAX_CALLS_PER_STEP):
            tools.give("clock", "noon")
        say_call(services, answer, *["clock"] * (MAX_CALLS_PER_STEP + 3))
        steps += 1
        await goes_on(services, steps + 1)
    assert len(calls_of(services, answer)) == MAX_CALLS
    say_call(services, answer, "clock")  # whatever it was told
    await goes_on(services, steps + 2)
    assert calls_of(services, answer)[-1].status == "failed"


async def test_results_are_cut_and_errors_are_words(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    tools.give("clock", "x" * (MAX_RESULT_CHARS + 9))
    tools.give("clock", "no\ud800\0 such file", is_error=True)
    say_call(services, answer, "clock", "clock")
    long, failed = (await goes_on(services, 2)).turns[-2:]
    assert len(long.content) < MAX_RESULT_CHARS + 100
    assert f"first {MAX_RESULT_CHARS:,} of" in long.content
    assert failed.content.startswith("Error: no")
    assert "\ud800" not in failed.content


async def test_a_call_that_takes_too_long_is_ended(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    services.answers.tools._seconds = 0.0
    answer = await services.ask()
    say_call(services, answer, "clock")
    assert "longer than" in (await goes_on(services, 2)).turns[-1].content


async def test_a_call_that_is_cut_at_the_length_limit_is_shown(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    cut = called(0, "add", '{"text": "and so on')
    services.runner.say(Delta(answer, "", calls=(cut,)), finished(answer, "length"))
    message = await services.ended(answer)
    (call,) = parse_calls(message.calls)
    assert (call.status, call.result, message.finish_reason) == ("failed", CUT, "length")


async def test_stop_ends_what_asks_and_what_runs(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "clock", "add", text="Well")
    await until(lambda: statuses(services, answer) == ["running", "asking"])
    await services.answers.stop(1, CHAT)
    message = await services.ended(answer)
    assert (message.status, message.text) == ("stopped", "Well\n\n")
    assert [call.status for call in parse_calls(message.calls)] == ["failed", "denied"]
    await until(lambda: tools.cancelled == ["clock"])
    assert [turn.content for turn in to_turns([message])[1:]] == [f"Error: {STOPPED}", STOPPED]
    ref = MessageRef(1, CHAT, answer)
    await services.branches.continue_answer(ref)
    again = await goes_on(services, 2)
    assert again.turns[-1].content == STOPPED
    services.runner.say(Delta(answer, "then"), finished(answer))
    assert (await services.ended(answer)).text == "Well\n\nthen"


async def test_a_chat_may_be_deleted_while_it_asks(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "add", "clock")
    await until(lambda: statuses(services, answer) == ["asking", "running"])
    await services.chats.delete(1, CHAT)
    await until(lambda: services.hub.stream(answer) is None)
    await until(lambda: bool(tools.cancelled))
    assert tools.cancelled == ["clock"]


async def test_an_answer_that_asks_still_asks_after_a_restart(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    services.runner.say(Prefill(answer, 1, 9, 0, 0), Delta(answer, "", thought="Hm."))
    say_call(services, answer, "add", text="Let me see.")
    await until(lambda: statuses(services, answer) == ["asking"])
    await until_saved(services, answer, '"asking"')
    kill(services, answer)
    for _ in range(5):  # it is not what Wick dies of
        await services.chats.recover_interrupted()
    await services.answers.requeue()
    await until(lambda: any(stream.is_asking for stream in services.hub.streams()))
    await decide(services, answer)
    tools.give("add", "7")
    again = await goes_on(services, 2)
    assert [t.content for t in again.turns] == ["hello", "Let me see.", "7"]
    assert again.turns[1].thought == "Hm."
    services.runner.say(Delta(answer, "It is 7."), finished(answer))
    message = await services.ended(answer)
    assert message.text == "Let me see.\n\nIt is 7."
    assert message.completion_tokens == 4


async def test_what_ran_when_wick_was_killed_has_no_result_and_the_answer_goes_on(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "clock")
    await until(lambda: statuses(services, answer) == ["running"])
    await until_saved(services, answer, '"running"')
    kill(services, answer)
    await services.chats.recover_interrupted()
    await services.answers.requeue()
    again = await goes_on(services, 2)
    assert again.turns[-1].content == f"Error: {ENDED}"


async def test_an_orderly_end_leaves_what_asks_for_the_next_start(
    tmp_path: Path, store: ModelStore, services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask()
    say_call(services, answer, "add")
    await until(lambda: statuses(services, answer) == ["asking"])
    await until_saved(services, answer, '"asking"')
    services.answers.close()
    await services.answers.tasks.drain(5)
    assert services.hub.stream(answer) is None
    async with built(tmp_path, store) as again:
        await switched_on(again)
        await again.chats.recover_interrupted()
        await again.answers.requeue()
        await until(lambda: statuses(again, answer) == ["asking"])
        again.answers.close()


async def until_saved(services: ScriptedServices, answer: int, words: str) -> None:
    while words not in ((await stored(services, answer)).calls or ""):
        await services.db.fetch_all("SELECT 1")


def kill(services: ScriptedServices, answer: int) -> None:
    """Forget what is in memory, as if the process had ended."""
    services.answers.tools.close()
    stream = services.hub.stream(answer)
    assert stream is not None
    for recorder in services.answers._pending.all():
        recorder.is_postponed = True
        services.answers._pending.deactivate(recorder)
    services.hub.discard(stream)


def test_calls_of_other_files_are_checked() -> None:
    good = {"id": "a", "name": "add", "status": "done", "result": "7"}
    open_one = good | {"status": "asking", "step": 1}
    bad = [{"id": 1}, good | {"status": "odd"}, good | {"name": "n" * 500}, None, "x"]
    kept = sanitize_calls([open_one, *bad, good])
    assert [call.status for call in kept] == ["done", "denied"]
    assert sanitize_calls({"no": "list"}) == ()
    assert len(sanitize_calls([good] * 1000)) == MAX_CALLS
    assert parse_calls("nonsense") == parse_calls('[{"id": 3}]') == ()


async def test_the_window_is_counted_in_turns(
    services: ScriptedServices, tools: ScriptedTools
) -> None:
    answer = await services.ask("one")
    tools.give("clock", "noon")
    say_call(services, answer, "clock")
    await goes_on(services, 2)
    services.runner.say(Delta(answer, "It is noon."), finished(answer))
    await services.ended(answer)
    second = await services.ask("two", "client02")
    path = await services.path()
    assert [t.role for t in to_turns(path[:-1])] == [
        *("user", "assistant", "tool", "assistant", "user")
    ]
    assert first_in_context(path[:-1], 4) == path[2].id
    services.runner.say(Delta(second, "ok"), finished(second))
