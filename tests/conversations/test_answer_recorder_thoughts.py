"""What a model thinks is kept beside its answer, through checkpoints, restarts and files."""

from __future__ import annotations

import json

from app.conversations.answer_state import MessageRef
from app.conversations.exports import Exports
from app.db import messages
from app.inference.protocol import Delta, Finished, Generate, Prefill
from tests.conversations.services import CHAT, ScriptedServices, finished
from tests.patience import until


def request(services: ScriptedServices, answer: int) -> Generate:
    return next(c for c in services.runner.sent if isinstance(c, Generate) and c.id == answer)


async def test_a_thought_is_saved_beside_the_answer(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "", thought="Two and "))
    stream = services.hub.stream(answer)
    assert stream is not None
    await until(lambda: stream.is_thinking)
    services.runner.say(
        Delta(answer, "", thought="two. "), Delta(answer, "Four."), finished(answer)
    )
    ended = await services.ended(answer)
    assert (ended.thought, ended.text, ended.status) == ("Two and two.", "Four.", "done")
    assert ended.thought_seconds is not None
    assert not stream.is_thinking


async def test_an_answer_without_a_thought_has_none(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "Four."), finished(answer))
    ended = await services.ended(answer)
    assert (ended.thought, ended.thought_seconds) == (None, None)


async def test_earlier_thoughts_are_given_to_the_template_of_the_model(
    services: ScriptedServices,
) -> None:
    first = await services.ask("one", "client01")
    services.runner.say(Delta(first, "", thought="Hm."), Delta(first, "uno"), finished(first))
    await services.ended(first)
    second = await services.ask("two", "client02")
    turns = request(services, second).turns
    assert [(turn.content, turn.thought) for turn in turns] == [
        ("one", ""),
        ("uno", "Hm."),
        ("two", ""),
    ]


async def test_an_answer_that_was_cut_while_thinking_goes_on_thinking(
    services: ScriptedServices,
) -> None:
    answer = await services.ask()
    services.runner.say(
        Prefill(answer, 9, 9, 0, 0),
        Delta(answer, "", thought="Two and"),
        Finished(answer, "length", 9, 4, 2, 0.1, 0.1, 0),
    )
    cut = await services.ended(answer)
    assert (cut.thought, cut.text, cut.finish_reason) == ("Two and", "", "length")
    services.runner.sent.clear()
    await services.branches.continue_answer(MessageRef(1, CHAT, answer))
    await until(lambda: any(c.id == answer for c in services.runner.sent))
    assert (request(services, answer).thought, request(services, answer).opening) == ("Two and", "")
    services.runner.say(
        Delta(answer, "", thought=" two."), Delta(answer, "Four."), finished(answer)
    )
    whole = await services.ended(answer)
    assert (whole.thought, whole.text) == ("Two and two.", "Four.")
    assert (whole.thought_seconds or 0) >= (cut.thought_seconds or 0)


async def test_a_thought_survives_a_crash(services: ScriptedServices) -> None:
    answer = await services.ask()
    await services.db.write(lambda c: messages.checkpoint(c, 1, answer, "Fo", 0.0, "Two and two."))
    await services.chats.recover_interrupted()
    [_, ended] = await services.path()
    assert (ended.status, ended.thought, ended.text) == ("interrupted", "Two and two.", "Fo")


async def test_files_have_thoughts_as_a_field_of_their_own(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(Delta(answer, "", thought="Hm."), Delta(answer, "uno"), finished(answer))
    await services.ended(answer)
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    exports = Exports(services.db)
    file = json.loads(b"".join([part async for part in exports.json(chat)]))
    [_, record] = file["chats"][0]["messages"]
    assert (record["thought"], record["text"]) == ("Hm.", "uno")
    markdown = b"".join([part async for part in exports.markdown(chat)]).decode()
    assert "uno" in markdown
    assert "Hm." not in markdown


async def test_thoughts_are_not_searched(services: ScriptedServices) -> None:
    answer = await services.ask()
    services.runner.say(
        Delta(answer, "", thought="walnuts"), Delta(answer, "uno"), finished(answer)
    )
    await services.ended(answer)
    rows = await services.db.fetch_all(
        "SELECT rowid FROM messages_index WHERE messages_index MATCH ?", ("walnuts",)
    )
    assert list(rows) == []
