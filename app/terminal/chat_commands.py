"""Commands about chats: which one, its name, its end, a copy of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rich.padding import Padding
from rich.text import Text

from app.age import ENDING, check_passphrase
from app.conversations.exports import file_name
from app.errors import ChatError, ChatNotFound, InvalidMessage, InvalidPassphrase
from app.terminal.format import cut, find_chat, format_time, one_line, snippet
from app.terminal.records import ChatSummary, ExportFormat, SearchHit
from app.terminal.repl import TEMPORARY, Repl

MAX_CHOICES: Final = 15
HITS: Final = 20
PLACES: Final = 2
"""In one chat that are shown."""
MAX_SHOWN: Final = sys.maxsize


async def new(repl: Repl, _: str) -> None:
    await repl.begin(repl.model)
    kind = "New temporary chat" if repl.is_temporary else "New chat"
    repl.info(f"{kind} with {one_line(repl.persona.title)}." if repl.persona else f"{kind}.")
    repl.introduce()


async def temporary(repl: Repl, _: str) -> None:
    """Begin a new chat that is temporary if this one is not, or is saved if this one is not."""
    if repl.is_temporary and not repl.backend.can_save:
        raise ChatError("Nothing can be saved here: another “wick chat” is using the data folder.")
    await repl.begin(repl.model, is_temporary=not repl.is_temporary)
    repl.info(TEMPORARY if repl.is_temporary else "New chat. It is saved.")
    repl.introduce()


async def choose_chat(repl: Repl, _: str) -> None:
    found = await repl.backend.chats(MAX_CHOICES)
    if not found:
        raise ChatNotFound("No chats yet.")
    room = max(repl.console.width - 24, 10)
    options = [
        (chat, f"{format_time(chat.updated_at):>10}  {cut(chat.title, room)}") for chat in found
    ]
    current = next((chat for chat in found if chat.id == repl.chat_id), found[0])
    chosen = await repl.prompt.choose("Choose a chat (Escape to cancel)", options, current)
    if chosen is not None:
        await _enter(repl, chosen)


async def open_chat(repl: Repl, wanted: str) -> None:
    if not wanted:
        await choose_chat(repl, "")
    elif wanted.isdecimal() and 0 < int(wanted) <= len(repl.listed):
        await _enter(repl, repl.listed[int(wanted) - 1])
    else:
        await _enter(repl, await find_chat(repl.backend, wanted))


async def search(repl: Repl, words: str) -> None:
    if not words:
        raise InvalidMessage("Give some words to search for: /search WORDS")
    hits = (await repl.backend.search(words))[:HITS]
    if not hits:
        repl.info(f"No results for “{words}”.")
        return
    by_chat: dict[str, list[SearchHit]] = {}
    for hit in hits:
        by_chat.setdefault(hit.chat_id, []).append(hit)
    for number, found in enumerate(by_chat.values(), 1):
        title = one_line(found[0].title)
        repl.print(Text(f"{number:>3}  ").append(title, style="bold"))
        for text in [text for hit in found if (text := snippet(hit)).plain != title][:PLACES]:
            repl.console.print(Padding(text, (0, 0, 0, 5)), highlight=False)
    repl.listed = [
        ChatSummary(chat_id, found[0].title, "", 0) for chat_id, found in by_chat.items()
    ]
    repl.info("Open one with /open NUMBER.")


async def history(repl: Repl, _: str) -> None:
    await repl.show_history((await repl.opened()).path, MAX_SHOWN)


async def rename(repl: Repl, title: str) -> None:
    if not title:
        raise InvalidMessage("A chat needs a name: /rename TITLE")
    await repl.opened()
    await repl.backend.rename(repl.chat_id, title)
    repl.title = title
    repl.info(f"Renamed to “{one_line(title)}”.")


async def delete(repl: Repl, _: str) -> None:
    await repl.opened()
    if repl.is_temporary:
        await new(repl, "")
        return
    deleted = repl.chat_id
    await repl.backend.delete(deleted)
    await repl.begin(repl.model)
    repl.deleted = deleted
    repl.info("Chat moved to trash; /undelete brings it back. This is a new chat.")


async def undelete(repl: Repl, _: str) -> None:
    if not repl.deleted:
        raise ChatNotFound("No chat was deleted here.")
    chat_id, repl.deleted = repl.deleted, ""
    await repl.backend.restore(chat_id)
    await _enter(repl, await find_chat(repl.backend, chat_id))


async def export(repl: Repl, name: str) -> None:
    """Export to the file of that name; without one it is called after the chat.

    One whose name ends in `.age` is encrypted by a passphrase.
    """
    chat = (await repl.opened()).chat
    path = Path(name or file_name(chat.title, "md")).expanduser()
    is_encrypted = path.suffix.casefold() == ENDING
    plain = path.with_suffix("") if is_encrypted else path
    form: ExportFormat = "json" if plain.suffix.casefold() == ".json" else "md"
    passphrase = await _new_passphrase(repl) if is_encrypted else ""
    data = await repl.backend.export(repl.chat_id, form, passphrase)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise InvalidMessage(f"{path} already exists. Choose another name.") from None
    except OSError as error:
        raise InvalidMessage(f"Can't write {path}: {error.strerror}.") from error
    repl.info(f"Exported to {path}.")


async def _new_passphrase(repl: Repl) -> str:
    """Ask for a passphrase twice. Raises InvalidPassphrase."""
    passphrase = await repl.prompt.read_secret("New passphrase: ")
    check_passphrase(passphrase)
    if passphrase != await repl.prompt.read_secret("Confirm passphrase: "):
        raise InvalidPassphrase("The passphrases do not match.")
    return passphrase


async def _enter(repl: Repl, chat: ChatSummary) -> None:
    opened = await repl.backend.open(chat.id)
    await repl.switch_to(opened)
    repl.print(Text(one_line(repl.title), style="bold"))
    await repl.show_history(opened.path)
