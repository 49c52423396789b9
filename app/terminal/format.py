"""Chats, hits and settings as lines of a terminal."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from app.conversations.settings import ChatSettings, escape_stop_string, parse, written
from app.errors import ChatNotFound, ModelNotFound, WrongModelKind, not_for_chats
from app.terminal.http_backend import HttpBackend
from app.terminal.markdown import strip_control
from app.terminal.records import ChatSummary, ModelSummary, SearchHit

# What a chat is answered with: its settings, changed one by one, and the choice of its model.


def apply_changes(
    settings: ChatSettings, new: Mapping[str, str], longest_prompt: int
) -> ChatSettings:
    """Replace these fields, given as text; an empty one goes back to the model's default.

    Raises InvalidSettings.
    """
    return parse({**written(settings), **new}, longest_prompt, settings)


def describe_settings(settings: ChatSettings) -> list[str]:
    """A line for each setting that was chosen."""
    lines = []
    for name, value in settings.overrides.items():
        shown = (
            ", ".join(f"“{escape_stop_string(stop)}”" for stop in value)
            if name == "stop"
            else value
        )
        lines.append(f"{name.replace('_', ' ')}: {shown}")
    return lines


def chat_models(models: Sequence[ModelSummary]) -> list[ModelSummary]:
    """Choose those that can chat."""
    return [model for model in models if model.kind == "text"]


def resolve_model(models: Sequence[ModelSummary], wanted: str) -> str:
    """The model of that name; without a name the first. Raises ModelNotFound or WrongModelKind."""
    if other := next((m for m in models if m.name == wanted and m.kind != "text"), None):
        raise WrongModelKind(not_for_chats(other.title, other.kind))
    models = chat_models(models)
    if not models:
        raise ModelNotFound("No model installed yet. Get one: wick models pull smollm2-135m")
    if not wanted:
        return models[0].name
    if all(model.name != wanted for model in models):
        names = ", ".join(model.name for model in models)
        raise ModelNotFound(f"No model named “{wanted}” is installed. Installed: {names}.")
    return wanted


# Chats and hits of a search as lines, and finding the one that is meant.


MAX_SEARCHED: Final = 1000
"""Chats among which the beginning of an id is looked for."""
_ID: Final = re.compile(r"[0-9a-f]{4,16}")


async def find_chat(backend: HttpBackend, wanted: str) -> ChatSummary:
    """Find a chat by `last`, an id or the beginning of one, or a title. Raises ChatNotFound."""
    if re.fullmatch(r"[0-9a-f]{16}", wanted):
        return (await backend.open(wanted)).chat
    chats = await backend.chats(1 if wanted == "last" else MAX_SEARCHED)
    if wanted == "last":
        if not chats:
            raise ChatNotFound("No chats yet.")
        return chats[0]
    found = [chat for chat in chats if _ID.fullmatch(wanted) and chat.id.startswith(wanted)]
    found = found or [chat for chat in chats if chat.title.casefold() == wanted.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        raise ChatNotFound(f"“{wanted}” matches {len(found)} chats. Give more of the id.")
    raise ChatNotFound(f"There is no chat “{wanted}”; /chats and “wick chat --list” show them.")


def format_time(at: float, now: dt.datetime | None = None) -> str:
    """Format today's times by the hour, others by the day."""
    moment = dt.datetime.fromtimestamp(at).astimezone()
    now = now or dt.datetime.now().astimezone()
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d}"


def chats_table(chats: Sequence[ChatSummary]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    table.add_column("Id", no_wrap=True)
    table.add_column("Last", no_wrap=True)
    table.add_column("Title", ratio=1, overflow="ellipsis", no_wrap=True)
    table.add_column("Model", overflow="ellipsis", no_wrap=True)
    for chat in chats:
        table.add_row(
            chat.id, format_time(chat.updated_at), Text(one_line(chat.title)), Text(chat.model)
        )
    return table


def one_line(text: str) -> str:
    return " ".join(strip_control(text).split())


def cut(text: str, room: int) -> str:
    """Put a text on one line of at most so many characters."""
    text = one_line(text)
    return text if len(text) <= room else text[: room - 1] + "…"


def snippet(found: SearchHit) -> Text:
    """Put a hit on one line, with its words marked."""
    text = Text(strip_control(found.snippet).replace("\n", " ").replace("\t", " "), overflow="fold")
    for first, end in found.marks:
        text.stylize("bold", first, end)
    return text
