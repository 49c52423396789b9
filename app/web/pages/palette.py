"""The palette of Ctrl+K: chats and messages, models, pages and actions in one list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quart import Blueprint, request

from app.conversations.search import SearchResults
from app.db.chats import Chat
from app.db.search import SearchQuery, folded, words_of
from app.errors import ChatNotFound, WickError
from app.web.context import ServerContext, server_context, services_of
from app.web.pages.lists import SearchHitView, hit_view
from app.web.render.cards import element_key
from app.web.render.chat import models_ready
from app.web.render.dates import heading_of, to_local
from app.web.security.identity import current_user, identity, is_owner

blueprint = Blueprint("palette", __name__, url_prefix="/palette")
MAX_RECENT: Final = 8
MAX_CHATS: Final = 6
MAX_MESSAGES: Final = 8
MAX_FILES: Final = 5
MAX_OTHERS: Final = 5
"""Of models, of pages and of actions."""
Parts = list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class PaletteOption:
    """One thing to go to or to do. `address`: of a page; `clicks`: what on this page does it, as a
    selector; `opens`: the address of a dialog; `model`: which is to answer next in the chat that
    the page shows."""

    title: Parts
    address: str = ""
    note: str = ""
    snippet: Parts | None = None
    clicks: str = ""
    opens: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class PaletteGroup:
    key: str
    heading: str
    options: Sequence[PaletteOption]


@dataclass(frozen=True, slots=True)
class Entry:
    """A page or an action. `words`: by which it is found, too."""

    title: str
    address: str = ""
    clicks: str = ""
    opens: str = ""
    words: str = ""
    chat_only: bool = False
    owners_only: bool = False
    accounts_only: bool = False


ACTIONS: Final = (
    Entry("New chat", "/", words="begin start"),
    Entry("Temporary chat", "/temporary", words="private incognito secret new"),
    Entry(
        "Chat settings",
        clicks="[aria-label='Chat settings']",
        words="instructions system prompt temperature creativity thinking reasoning",
        chat_only=True,
    ),
    Entry("Talk", clicks="#talk-open", words="voice speak hands-free conversation", chat_only=True),
    Entry("New folder", opens="/folders/new", words="create project group"),
    Entry("Keyboard shortcuts", clicks="#show-keys", words="keys help"),
)
PAGES: Final = (
    Entry("Models", "/models", words="download install settings"),
    Entry(
        "Settings",
        "/settings",
        words="preferences theme dark text size notifications sound enter voice aloud",
    ),
    Entry("Prompts", "/prompts", words="saved library templates"),
    Entry("Personas", "/personas", words="characters assistants instructions"),
    Entry("Search with filters", "/search", words="find"),
    Entry("Archive", "/archive"),
    Entry("Trash", "/trash", words="deleted restore"),
    Entry("Export and import", "/exchange", words="backup chatgpt open webui json markdown"),
    Entry("API keys", "/keys", words="programs tokens"),
    Entry("API documentation", "/docs", words="openai ollama programs"),
    Entry("Tools", "/tools", words="mcp servers", owners_only=True),
    Entry("Status", "/status", words="server memory queue", owners_only=True),
    Entry("Users", "/people", words="accounts invite members", owners_only=True),
    Entry("Account", "/you", words="password sessions log out", accounts_only=True),
)


@blueprint.get("")
async def find() -> str:
    """The options for what was typed; the latest chats and the actions before anything is."""
    context = server_context()
    chat_id = request.args.get("chat", "")
    words, error = words_of(request.args.get("q", "")), ""
    groups = list[PaletteGroup]()
    try:
        groups += await (_found(context, words) if words else _recent(context))
    except WickError as failure:  # the search took too long; the rest is at hand
        error = str(failure)
    if words:
        groups += await _beginnings(context, words)
        groups.append(PaletteGroup("models", "Models", await _models(context, words, chat_id)))
        pages = _entries(PAGES, words, chat_id)[:MAX_OTHERS]
        groups.append(PaletteGroup("pages", "Pages", pages))
    groups.append(PaletteGroup("actions", "Actions", _entries(ACTIONS, words, chat_id)))
    return context.fragments.render(
        "_palette_results.html", groups=groups, error=error, chat_id=chat_id
    )


async def _recent(context: ServerContext) -> list[PaletteGroup]:
    user_id = current_user()
    pinned, _ = await context.chats.page(user_id, "pinned")
    chats = [*pinned, *await context.chats.recent(user_id)]
    chats.sort(key=lambda chat: chat.updated_at, reverse=True)
    options = [_chat(chat) for chat in chats[:MAX_RECENT]]
    return [PaletteGroup("chats", "Recent chats", options)]


def _chat(chat: Chat) -> PaletteOption:
    today = to_local(time.time()).date()
    when = heading_of(chat.updated_at, today)
    return PaletteOption([(chat.title, False)], f"/chats/{chat.id}", when)


async def _found(context: ServerContext, words: tuple[str, ...]) -> list[PaletteGroup]:
    found: SearchResults = await context.search.find(current_user(), SearchQuery(words))
    names = context.model_names
    await names.load(hit.model for hit in found.messages)
    titles = [hit_view(hit, words, names) for hit in found.titles[:MAX_CHATS]]
    texts = [hit_view(hit, words, names) for hit in found.messages[:MAX_MESSAGES]]
    files = [hit_view(hit, words, names) for hit in found.files[:MAX_FILES]]
    return [
        PaletteGroup("chats", "Chats", [_hit(view) for view in titles]),
        PaletteGroup("messages", "Messages", [_hit(view) for view in texts]),
        PaletteGroup("files", "Files", [_hit(view) for view in files]),
    ]


def _hit(view: SearchHitView) -> PaletteOption:
    note = " · ".join(part for part in (view.file or view.who, view.day) if part)
    return PaletteOption(view.title, view.address, note, view.snippet)


async def _beginnings(context: ServerContext, words: tuple[str, ...]) -> list[PaletteGroup]:
    """Offer new chats: in a folder, or with a persona."""
    user_id = current_user()
    folders = {f"/?folder={one.id}": one.name for one in await context.folders.all(user_id)}
    personas = {f"/?persona={one.id}": one.name for one in await context.personas.all(user_id)}
    return [
        PaletteGroup(key, heading, _named(found, words)[:MAX_OTHERS])
        for key, heading, found in (
            ("folders", "Folders", folders),
            ("personas", "Personas", personas),
        )
    ]


def _named(names: Mapping[str, str], words: tuple[str, ...]) -> list[PaletteOption]:
    return [
        PaletteOption(mark(name, words), address, "New chat")
        for address, name in names.items()
        if _has(name, words)
    ]


async def _models(
    context: ServerContext, words: tuple[str, ...], chat_id: str
) -> list[PaletteOption]:
    """Offer models: in a chat to use there, elsewhere to look at."""
    options = [one for one in await models_ready(context) if _has(f"{one.label} {one.name}", words)]
    is_chat = await _is_chat(chat_id)
    return [
        PaletteOption(
            mark(one.label, words),
            "" if is_chat else f"/models#card-{element_key(one.name)}",
            "Use in this chat" if is_chat else "Show",
            model=one.name if is_chat else "",
        )
        for one in options[:MAX_OTHERS]
    ]


async def _is_chat(chat_id: str) -> bool:
    """Tell whether a chat of this user may have this id; it need not have begun."""
    if not chat_id:
        return False
    try:
        await services_of(chat_id).chats.get(current_user(), chat_id)
    except ChatNotFound:
        return False
    return True


def _entries(entries: Iterable[Entry], words: tuple[str, ...], chat_id: str) -> list[PaletteOption]:
    has_account = identity().via != "machine"
    return [
        PaletteOption(mark(one.title, words), one.address, clicks=one.clicks, opens=one.opens)
        for one in entries
        if _has_all(one, words)
        and (chat_id or not one.chat_only)
        and (is_owner() or not one.owners_only)
        and (has_account or not one.accounts_only)
    ]


def _has_all(entry: Entry, words: Sequence[str]) -> bool:
    """Tell whether its title has each of the words, or one of its own begins with it."""
    own = entry.words.split()
    return all(
        folded(word) in folded(entry.title) or any(one.startswith(folded(word)) for one in own)
        for word in words
    )


def _has(text: str, words: Sequence[str]) -> bool:
    text = folded(text)
    return all(folded(word) in text for word in words)


def mark(text: str, words: Sequence[str]) -> Parts:
    """Cut a text into parts, with whether each is one of the words."""
    plain, spots = folded(text), set[int]()
    if len(plain) != len(text):  # folding has moved the places
        return [(text, False)]
    for word in map(folded, words):
        at = plain.find(word) if word else -1
        while at >= 0:
            spots.update(range(at, at + len(word)))
            at = plain.find(word, at + len(word))
    parts: Parts = []
    for place, character in enumerate(text):
        if parts and parts[-1][1] == (place in spots):
            parts[-1] = (parts[-1][0] + character, parts[-1][1])
        else:
            parts.append((character, place in spots))
    return parts
