"""Personas: what a chat that begins with one gets, and each user's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.conversations.personas import Personas, checked, settings_of, starters_to_json
from app.conversations.starters import suggestions_for
from app.db.personas import PersonaValues
from app.errors import InvalidEntry, LibraryEntryNotFound
from app.inference.protocol import Generate
from app.models.model import Turn
from tests.conversations.services import CHAT, OTHER, ScriptedServices
from tests.patience import until

EDITOR = PersonaValues(
    name="  Editor ",
    emoji="✍️",
    instructions="Correct spelling.",
    greeting="Show me a text.",
    settings='{"temperature": 0.5}',
    starters=starters_to_json(["Proofread this:", "", " Shorten\tthis: "]),
)
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidEntry) as caught:
        checked(PersonaValues(name=" ", emoji="x" * 17, starters=starters_to_json(list("abcde"))))
    assert set(caught.value.problems) == {"name", "emoji", "starters"}
    assert checked(EDITOR).name == "Editor"
    assert EDITOR.starters == '["Proofread this:", "Shorten this:"]'


async def test_a_chat_that_begins_with_a_persona_has_its_settings(
    services: ScriptedServices,
) -> None:
    library = Personas(services.db)
    editor = await library.add(1, EDITOR)
    await services.answers.submit(replace(services.prompt("Helo"), persona=editor.id))
    await until(lambda: bool(services.runner.sent))
    (sent, *_) = services.runner.sent
    assert isinstance(sent, Generate)
    assert sent.turns[0] == Turn(
        "system",
        "Correct spelling.\n\nYou began the conversation with these words:\nShow me a text.",
    )
    assert sent.sampling.temperature == 0.5
    found = await library.of_chat(1, CHAT)
    assert found is not None
    assert found.name == "Editor"
    assert await services.chats.settings(1, CHAT) == settings_of(editor)
    # Later changes are for new chats; what goes leaves the chats as they are.
    await library.change(1, editor.id, replace(EDITOR, name="Other", instructions="Be rude."))
    assert await services.chats.settings(1, CHAT) == settings_of(editor)
    await library.remove(1, editor.id)
    assert await library.of_chat(1, CHAT) is None
    assert (await services.chats.settings(1, CHAT)).get("temperature") == 0.5


async def test_a_persona_changes_no_chat_that_has_begun_and_no_other_users(
    services: ScriptedServices,
) -> None:
    library = Personas(services.db)
    editor = await library.add(1, EDITOR)
    await services.answers.submit(services.prompt("one"))
    await services.answers.submit(replace(services.prompt("two", "client02"), persona=editor.id))
    assert (await services.chats.settings(1, CHAT)).overrides == {}
    assert await library.of_chat(1, CHAT) is None
    await services.db.write(
        lambda c: c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'ben', 1)")
    )
    for call in (library.get(2, editor.id), library.remove(2, editor.id)):
        with pytest.raises(LibraryEntryNotFound):
            await call
    theirs = replace(services.prompt("hi", "client03", OTHER), user_id=2, persona=editor.id)
    await services.answers.submit(theirs)
    assert (await services.chats.settings(2, OTHER)).overrides == {}
    assert await library.of_chat(2, OTHER) is None


async def test_pictures_are_pictures_and_bounded(services: ScriptedServices) -> None:
    library = Personas(services.db)
    editor = await library.add(1, EDITOR, PNG)
    assert await library.picture(1, editor.id) == (PNG, "image/png")
    for wrong in (b"<svg onload=alert(1)>", PNG + b"x" * (512 << 10)):
        with pytest.raises(InvalidEntry):
            await library.change(1, editor.id, EDITOR, wrong)
    await library.change(1, editor.id, EDITOR)
    assert (await library.picture(1, editor.id))[0] == PNG  # left as it was
    with pytest.raises(LibraryEntryNotFound):
        await library.picture(2, editor.id)
    await library.change(1, editor.id, EDITOR, None)
    with pytest.raises(LibraryEntryNotFound):
        await library.picture(1, editor.id)


def test_there_are_four_suggestions_for_every_model(services: ScriptedServices) -> None:
    tiny = services.answers._store.get("tiny")
    kinds = [None, tiny, replace(tiny, parameters=7 * 10**9), replace(tiny, name="qwen-coder")]
    assert all(len(suggestions_for(model)) == 4 for model in kinds)
    assert len({suggestions_for(model) for model in kinds}) == 3
