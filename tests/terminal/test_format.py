"""Small parts of the terminal: what is typed, what is chosen, what is listed."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from app.conversations.settings import ChatSettings
from app.errors import InvalidSettings, ModelNotFound, WrongModelKind
from app.terminal.format import (
    apply_changes,
    chat_models,
    describe_settings,
    format_time,
    resolve_model,
)
from app.terminal.prompt import InputPrompt, is_open, unwrapped
from app.terminal.records import (
    MessageRecord,
    ModelSummary,
    answer_stats,
    dropped_note,
    ending_note,
)
from app.terminal.repl import is_command


@pytest.mark.parametrize(
    ("text", "is_going_on", "sent"),
    [
        ("a", False, "a"),
        ("a\\", True, "a\\"),
        ("a\\\nb", False, "a\\\nb"),
        ('"""', True, ""),
        ('"""a\nb', True, "a\nb"),
        ('"""a\nb"""', False, "a\nb"),
        ('"""\na\n"""', False, "a"),
        ('say """', False, 'say """'),
    ],
)
def test_a_prompt_continues_over_lines_until_it_is_closed(
    text: str, is_going_on: bool, sent: str
) -> None:
    assert is_open(text) is is_going_on
    assert unwrapped(text) == sent


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("/help", True), ("/usr/bin is what?", False), ("//help", False), ("a /help", False)],
)
def test_a_command_begins_with_one_slash_and_is_no_path(text: str, is_one: bool) -> None:
    assert is_command(text) is is_one


def test_settings_change_one_by_one() -> None:
    first = apply_changes(ChatSettings(), {"temperature": "0.5", "stop": "END\nx y"}, 1000)
    second = apply_changes(first, {"seed": "7", "temperature": ""}, 1000)
    assert second == ChatSettings(seed=7, stop=("END", "x y"))
    assert describe_settings(second) == ["seed: 7", "stop: “END”, “x y”"]
    odd = ChatSettings(temperature=0.30000000000000004, system_prompt=" a\r\n", stop=("\n\n", " "))
    assert apply_changes(odd, {"seed": "7"}, 1000) == ChatSettings(**odd.overrides, seed=7)
    assert describe_settings(odd)[-1] == r"stop: “\n\n”, “\s”"
    with pytest.raises(InvalidSettings):
        apply_changes(first, {"top_p": "2"}, 1000)
    with pytest.raises(InvalidSettings):
        apply_changes(first, {"system_prompt": "a" * 1001}, 1000)


def test_a_model_is_resolved_by_name_and_defaults_to_the_first() -> None:
    models = [ModelSummary("a", "A"), ModelSummary("b", "B")]
    assert resolve_model(models, "") == "a"
    assert resolve_model(models, "b") == "b"
    with pytest.raises(ModelNotFound, match="Installed: a, b"):
        resolve_model(models, "c")


def test_a_model_for_search_is_no_model_for_chats() -> None:
    models = [ModelSummary("w", "Words", kind="embedding"), ModelSummary("a", "A")]
    assert [model.name for model in chat_models(models)] == ["a"]
    assert resolve_model(models, "") == "a"
    with pytest.raises(WrongModelKind, match="Words is an embedding model, made for search"):
        resolve_model(models, "w")
    with pytest.raises(ModelNotFound, match="No model installed yet"):
        resolve_model(models[:1], "")


def test_times_of_today_are_hours_and_others_are_dates() -> None:
    now = dt.datetime(2026, 3, 4, 12, 30).astimezone()
    assert format_time((now - dt.timedelta(minutes=5)).timestamp(), now) == "12:25"
    assert format_time((now - dt.timedelta(days=1)).timestamp(), now) == "2026-03-03"


def test_notes_below_an_answer() -> None:
    answer = MessageRecord(
        2,
        "assistant",
        "text",
        model="tiny",
        prompt_tokens=41,
        cached_tokens=30,
        completion_tokens=42,
        decode_seconds=0.5,
        first_token_seconds=0.211,
        dropped=2,
    )
    assert (
        answer_stats(answer)
        == "tiny · 42 tokens · 84.0 tok/s · first after 0.21 s · 30 of 41 cached"
    )
    assert ending_note(answer) == ""
    assert dropped_note(answer) == "The oldest 2 messages no longer fit in the model's context."
    assert ending_note(MessageRecord(2, "assistant", "", "failed", error="No.")) == "No."


def test_an_answer_cut_inside_its_thought_ended_while_thinking() -> None:
    cut = MessageRecord(2, "assistant", "", "done", finish_reason="length", thought="Hm, is it")
    assert ending_note(cut) == "Ended at the length limit while thinking; /continue continues it"
    assert ending_note(replace(cut, status="stopped")) == "Stopped while thinking"
    assert ending_note(replace(cut, status="stopped", text="It is")) == "Stopped"


def test_the_prompt_works_where_its_history_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert InputPrompt(tmp_path / "file" / "history", lambda _: ())
