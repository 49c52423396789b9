"""Commands about chats: which one, its name, its end, a copy of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rich.padding import Padding
from rich.text import Text

from app.conversations.exports import file_name
from app.errors import ChatNotFound, InvalidMessage
from app.terminal.backend import ChatSummary, ExportFormat, SearchHit
from app.terminal.format import find_chat, format_time, one_line, snippet
from app.terminal.repl import Repl

MAX_CHOICES: Final = 15
HITS: Final = 20
PLACES: Final = 2
"""In one chat that are shown."""
MAX_SHOWN: Final = sys.maxsize


async def new(talk: Repl, _: str) -> None:
    await talk.begin(talk.model)
    talk.info("A new chat.")


async def chats(talk: Repl, _: str) -> None:
    found = await talk.backend.chats(MAX_CHOICES)
    if not found:
        raise ChatNotFound("There is no chat yet.")
    room = max(talk.console.width - 24, 10)
    options = [
        (chat, f"{format_time(chat.updated_at):>10}  {_cut(chat.title, room)}") for chat in found
    ]
    current = next((chat for chat in found if chat.id == talk.chat_id), found[0])
    chosen = await talk.prompt.choose("Which chat? Escape: none.", options, current)
    if chosen is not None:
        await _enter(talk, chosen)


async def open_chat(talk: Repl, wanted: str) -> None:
    if not wanted:
        await chats(talk, "")
    elif wanted.isdecimal() and 0 < int(wanted) <= len(talk.listed):
        await _enter(talk, talk.listed[int(wanted) - 1])
    else:
        await _enter(talk, await find_chat(talk.backend, wanted))


async def search(talk: Repl, words: str) -> None:
    if not words:
        raise InvalidMessage("Give the words to look for: /search WORDS")
    hits = (await talk.backend.search(words))[:HITS]
    if not hits:
        talk.info(f"Nothing has “{words}” in it.")
        return
    by_chat: dict[str, list[SearchHit]] = {}
    for hit in hits:
        by_chat.setdefault(hit.chat_id, []).append(hit)
    for number, found in enumerate(by_chat.values(), 1):
        title = one_line(found[0].title)
        talk.print(Text(f"{number:>3}  ").append(title, style="bold"))
        for text in [text for hit in found if (text := snippet(hit)).plain != title][:PLACES]:
            talk.console.print(Padding(text, (0, 0, 0, 5)), highlight=False)
    talk.listed = [
        ChatSummary(chat_id, found[0].title, "", 0) for chat_id, found in by_chat.items()
    ]
    talk.info("/open NUMBER goes on with one.")


async def history(talk: Repl, _: str) -> None:
    await talk.show_history((await talk.opened()).path, MAX_SHOWN)


async def rename(talk: Repl, title: str) -> None:
    if not title:
        raise InvalidMessage("A chat needs a name: /rename TITLE")
    await talk.opened()
    await talk.backend.rename(talk.chat_id, title)
    talk.title = title
    talk.info(f"This chat is called “{one_line(title)}” now.")


async def delete(talk: Repl, _: str) -> None:
    await talk.opened()
    deleted = talk.chat_id
    await talk.backend.delete(deleted)
    await talk.begin(talk.model)
    talk.deleted = deleted
    talk.info("The chat is in the trash; /undelete brings it back. This is a new one.")


async def undelete(talk: Repl, _: str) -> None:
    if not talk.deleted:
        raise ChatNotFound("No chat was deleted here.")
    chat_id, talk.deleted = talk.deleted, ""
    await talk.backend.restore(chat_id)
    await _enter(talk, await find_chat(talk.backend, chat_id))


async def export(talk: Repl, name: str) -> None:
    """To the file of that name; without one it is called after the chat."""
    chat = (await talk.opened()).chat
    path = Path(name or file_name(chat.title, "md")).expanduser()
    form: ExportFormat = "json" if path.suffix.casefold() == ".json" else "md"
    data = await talk.backend.export(talk.chat_id, form)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise InvalidMessage(f"{path} is there already. Give another name, please.") from None
    except OSError as error:
        raise InvalidMessage(f"{path} cannot be written: {error.strerror}.") from error
    talk.info(f"The chat is in {path}.")


async def _enter(talk: Repl, chat: ChatSummary) -> None:
    opened = await talk.backend.open(chat.id)
    await talk.switch_to(opened)
    talk.print(Text(one_line(talk.title), style="bold"))
    await talk.show_history(opened.path)


def _cut(text: str, room: int) -> str:
    text = one_line(text)
    return text if len(text) <= room else text[: room - 1] + "…"
