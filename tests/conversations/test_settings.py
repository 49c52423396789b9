from __future__ import annotations

import contextlib
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.conversations.folders import Folders
from app.conversations.settings import (
    ChatSettings,
    parse,
    parse_generation_settings,
    parse_stored,
    written,
)
from app.errors import ChatNotFound, InvalidSettings
from app.inference.protocol import Generate
from app.models.model import Turn
from app.models.parameters import SETTINGS, GenerationSettings, Sampling
from tests.conversations.services import CHAT, OTHER, ScriptedServices

FORM = {
    "system_prompt": " Be brief. ",
    "temperature": "0,5",
    "top_p": "0.8",
    "top_k": "12",
    "min_p": "0.1",
    "repetition_penalty": "1.2",
    "max_tokens": "99",
    "seed": "7",
    "stop": "END\n\n\nSTOP",
    "context_length": "256",
}
CHOSEN = ChatSettings(
    system_prompt=" Be brief. ",
    temperature=0.5,
    top_p=0.8,
    top_k=12,
    min_p=0.1,
    repetition_penalty=1.2,
    seed=7,
    max_tokens=99,
    context_length=256,
    stop=("END", "STOP"),
)


def test_settings_survive_the_form() -> None:
    assert parse(FORM, 1000) == CHOSEN
    assert parse_stored(CHOSEN.to_json()) == CHOSEN
    assert parse({}, 1000) == parse(dict.fromkeys(FORM, " "), 1000) == ChatSettings()
    assert ChatSettings().to_json() == "{}"


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"strange": 1}', "3"])
def test_unreadable_chat_settings_count_as_none(text: str | None) -> None:
    assert parse_stored(text) == ChatSettings()


def test_every_wrong_setting_has_a_sentence_of_its_own() -> None:
    wrong = dict.fromkeys(FORM, "a lot") | {"stop": "x\n" * 9, "system_prompt": "x" * 11}
    with pytest.raises(InvalidSettings) as caught:
        parse(wrong, 10)
    assert set(caught.value.problems) == set(FORM)
    assert caught.value.problems["top_k"] == "Top-k must be a whole number from 0 to 1,000."
    assert caught.value.problems["top_p"] == "Top-p must be a number from 0.01 to 1."


@pytest.mark.parametrize("name", [n for n, row in SETTINGS.items() if row.is_number])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e999", "99999999999", "0x1", "1 2"])
def test_numbers_of_settings_are_held_in_bounds(name: str, text: str) -> None:
    with pytest.raises(InvalidSettings):
        parse({name: text}, 10)


@given(st.dictionaries(st.sampled_from([*FORM]), st.text()))
def test_any_settings_form_gives_settings_or_sentences(form: dict[str, str]) -> None:
    with contextlib.suppress(InvalidSettings):
        chosen = parse(form, 1000)
        assert parse_stored(chosen.to_json()) == chosen


STOPS = ["\n\n", "###\nUser:", " ", "a\r\nb", "C:\\new\\\\", "\\end{x}", " x ", "\u2028"]


def test_stop_strings_survive_the_dialog() -> None:
    chosen = ChatSettings(stop=tuple(STOPS))
    text = written(chosen)["stop"].replace("\n", "\r\n")  # as browsers send it
    assert parse({"stop": text}, 1000) == chosen
    typed = "\\n\\n\n\n  \n###\\nUser:\n\\end{code}"
    assert parse({"stop": typed}, 1000).get("stop") == ("\n\n", "###\nUser:", "\\end{code}")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(st.one_of(st.sampled_from(STOPS), TEXT), min_size=1, max_size=8))
def test_any_stop_strings_survive_the_dialog(stops: list[str]) -> None:
    chosen = ChatSettings(stop=tuple(stops))
    assert parse({"stop": written(chosen)["stop"].replace("\n", "\r\n")}, 1000) == chosen


ODD = [
    ChatSettings(),
    ChatSettings(system_prompt="", stop=()),
    ChatSettings(system_prompt="  two\r\nlines\r \n"),
    ChatSettings(temperature=0.1, top_p=0.30000000000000004, min_p=1e-7, seed=4294967295),
    ChatSettings(temperature=1, top_k=100, repetition_penalty=1.0, max_tokens=32768),
    ChatSettings(temperature=7.5, max_tokens=100_000, context_length=3_000_000),  # older bounds
    ChatSettings(stop=("\n\n", "x" * 300)),
]


@pytest.mark.parametrize("chosen", ODD)
def test_a_settings_form_that_is_saved_unchanged_changes_nothing(chosen: ChatSettings) -> None:
    form = {name: re.sub("\r\n?|\n", "\r\n", text) for name, text in written(chosen).items()}
    assert parse(form, 1000, chosen).to_json() == chosen.to_json()
    assert parse(form | {"seed": "5"}, 1000, chosen) == ChatSettings(
        **{**chosen.overrides, "seed": 5}
    )


def test_chat_settings_override_those_of_the_model() -> None:
    usual = GenerationSettings(
        system_prompt="Hello",
        sampling=Sampling(temperature=0.1, repetition_window=5),
        max_tokens=10,
        context_length=200,
    )
    assert ChatSettings().merged_with(usual) == usual
    made = CHOSEN.merged_with(usual)
    assert made.sampling == Sampling(0.5, 0.8, 12, 0.1, 1.2, 7, 5)
    assert (made.max_tokens, made.system_prompt, made.stop) == (99, " Be brief. ", ("END", "STOP"))
    assert made.context_length == 200  # no larger than the model's
    assert parse_generation_settings(made.to_json()) == made


async def test_settings_may_come_before_the_chat(services: ScriptedServices) -> None:
    await services.chats.choose_settings(1, CHAT, CHOSEN)
    await services.ask()
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.turns == (Turn("system", " Be brief. "), Turn("user", "hello"))
    assert (command.sampling.temperature, command.sampling.seed) == (0.5, 7)
    assert (command.max_tokens, command.stop, command.context) == (99, ("END", "STOP"), 256)
    made_with = parse_generation_settings((await services.path())[-1].settings)
    assert made_with is not None
    assert made_with.stop == ("END", "STOP")
    await services.ask("elsewhere", "client02", OTHER)
    command = services.runner.sent[-1]
    assert isinstance(command, Generate)
    assert command.turns == (Turn("user", "elsewhere"),)


async def test_settings_of_a_chat_are_closed_to_other_users(services: ScriptedServices) -> None:
    await services.ask()
    await services.chats.choose_settings(1, CHAT, CHOSEN)
    assert await services.chats.settings(2, CHAT) == ChatSettings()
    with pytest.raises(ChatNotFound):
        await services.chats.choose_settings(2, CHAT, ChatSettings())
    await services.chats.choose_settings(1, OTHER, CHOSEN)
    await services.chats.choose_settings(2, OTHER, ChatSettings(seed=1))  # nobody's chat yet
    assert await services.chats.settings(1, OTHER) == CHOSEN
    assert await services.chats.settings(1, CHAT) == CHOSEN


async def test_what_a_user_says_of_themselves_is_added_to_whatever_instructions_hold(
    services: ScriptedServices,
) -> None:
    folders = Folders(services.db, services.hub)
    folder = await folders.add(1, "Ward", "Use metric units.")
    await services.chats.save_about(1, "I am a nurse.")
    ref = replace(services.prompt("before", "client01", CHAT), folder=folder.id)
    await services.answers.submit(ref)
    assert (await services.chats.settings(1, CHAT)).overrides == {}  # so nothing is frozen
    assert await instructions(services) == "Use metric units.\n\nI am a nurse."
    await services.chats.save_about(1, "I am a surgeon.")
    await folders.change(1, folder.id, "Ward", "Use imperial units.", "")
    await services.answers.submit(services.prompt("once more", "client02", CHAT))
    assert await instructions(services) == "Use imperial units.\n\nI am a surgeon."
    own = ChatSettings(system_prompt="Use no units.")
    await services.chats.choose_settings(1, CHAT, own)
    await folders.change(1, folder.id, "Ward", "Use both.", "")
    await services.answers.submit(services.prompt("again", "client04", CHAT))
    assert await instructions(services) == "Use no units.\n\nI am a surgeon."
    assert await services.chats.settings(1, CHAT) == own
    assert await services.chats.about(2) == ""


async def instructions(services: ScriptedServices) -> str:
    """What the newest answer is made with."""
    made_with = parse_generation_settings((await services.path())[-1].settings)
    assert made_with is not None
    return made_with.system_prompt
