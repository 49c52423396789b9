"""Titles of chats: the first words at once, later one by the model; free of Markdown."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final, Literal

from app.db import chats, messages
from app.errors import WickError
from app.inference.protocol import Delta, Finished, Generate, Prefill
from app.inference.queue import Request, RequestEvent
from app.models.model import Turn
from app.models.parameters import Sampling

if TYPE_CHECKING:  # the process that reads files for imports needs the rest of this module
    from collections.abc import Sequence

    from app.background import BackgroundTasks
    from app.conversations.answer_state import LiveAnswer
    from app.conversations.hub import Hub
    from app.db.connection import Database
    from app.db.messages import Message
    from app.inference.worker_pool import WorkerPool
    from app.models.store import ModelStore

log = logging.getLogger(__name__)
TitleMode = Literal["auto", "on", "off"]
"""Whether models write titles: where they can well, always, or never."""
TITLE_CHARS, NAME_CHARS = 60, 200
"""Of a title that was made, and of a name that a user has given."""
MIN_PARAMETERS = 1_000_000_000
"""Parameters from which on a model's titles are better than a chat's first words."""
_EXCERPT_CHARS = 1500
_MAX_TITLE_WORDS = 10  # six were asked for
_NO_TITLE = re.compile(
    r"(dear|hello|hi|hey|sure|certainly|of course|okay|sorry|here (is|are)|i('m)?)\b",
    re.IGNORECASE,
)
"""How answers begin, and letters."""
_TITLE_PROMPT = (
    "Write a title of at most six words for a conversation that begins with the message below. "
    "Answer with the title alone, without quotation marks.\n\n"
)

# Markup in titles and snippets. A hit of a search inside it stays as it is: it was sought.
_SIGNS: Final = re.compile(r"\*\*|```")
_BREAK: Final = re.compile(r"[ \t]*<br ?/?>[ \t]*", re.IGNORECASE)
_TAG: Final = re.compile(r"</?(?:kbd|mark|sub|sup|details|summary)>", re.IGNORECASE)
_NOTE: Final = re.compile(r"\[\^(\d{1,3})\]")


def title_of(text: str, longest: int = TITLE_CHARS) -> str:
    """The first words of a text, on one line, at most so many characters."""
    words = " ".join(text.split())
    if len(words) <= longest:
        return words
    cut = words[: longest - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[longest // 2 :] else cut) + "…"


def made_title(said: str) -> str | None:
    """Make a title of what a model said; None when it is none."""
    said = re.sub(r"^\W*title\s*:", "", said, flags=re.IGNORECASE)
    title = re.sub(r"\[\^\w+\]", "", said)
    title = (title if "`" in title else strip_markup(title)).strip().strip("\"'“”*#.").strip()
    if not title or title.endswith((",", ":", ";", "?!")) or _NO_TITLE.match(title):
        return None
    return title_of(title) if len(title.split()) <= _MAX_TITLE_WORDS else None


def strip_markup(text: str) -> str:
    """Remove bold, fences and the few tags that are shown as something; `[^1]` is `[1]`."""
    text = _SIGNS.sub("", text)
    text = _TAG.sub("", _BREAK.sub(" ", text))
    return _NOTE.sub(r"[\1]", text)


def is_about(title: str, text: str) -> bool:
    """Tell whether a title has any part of a word in common with a text."""
    text = text.casefold()
    words = re.findall(r"\w+", title.casefold())
    # Four letters tell a word from others in most scripts; where words have no spaces, two.
    parts = [word[:4] if word.isascii() else word[:2] for word in words]
    return any(len(part) > 3 or not part.isascii() for part in parts if part in text)


class TitleGenerator:
    """Asks the model of a chat's first answer for a title, in the background."""

    def __init__(
        self,
        mode: TitleMode,
        db: Database,
        store: ModelStore,
        pool: WorkerPool,
        hub: Hub,
    ) -> None:
        self._mode = mode
        self._db = db
        self._store = store
        self._pool = pool
        self._hub = hub

    async def maybe_generate(self, stream: LiveAnswer, tasks: BackgroundTasks) -> None:
        """Ask for a title when the answer that ended was the chat's first, and went well."""
        try:
            path = await messages.load_path(
                self._db, stream.user_id, stream.chat_id, stream.message_id
            )
        except WickError as error:
            log.warning("No title for %s: %s", stream.chat_id, error)
            return
        if len(path) == 2:
            await self.generate(stream.user_id, stream.chat_id, path, tasks)

    async def generate(
        self, user_id: int, chat_id: str, path: Sequence[Message], tasks: BackgroundTasks
    ) -> None:
        """Ask the model of a chat's first answer for a title, if that answer went well."""
        try:
            answer = path[1]
            model = answer.model or ""
            if answer.status != "done" or not self._model_is_capable(model):
                return
            chat = await chats.get(self._db, user_id, chat_id)
            if chat is None or chat.title_source != "words":
                return
            is_doubtful = self._is_of_unknown_size(model)
        except WickError as error:
            log.warning("No title for %s: %s", chat_id, error)
            return
        said: list[str] = []
        question = path[0].text or ", ".join(file.name for file in path[0].attachments)

        def on_event(event: RequestEvent) -> None:
            if isinstance(event, Prefill):  # perhaps for a second time, after it had given way
                said.clear()
            elif isinstance(event, Delta):
                said.append(event.text)
            elif isinstance(event, Finished) and event.reason != "cancelled":
                title = made_title("".join(said))
                if title is None or (is_doubtful and not is_about(title, question)):
                    return  # the first words stay
                tasks.spawn(self._save(user_id, chat_id, title), f"title of {chat_id}")

        command = Generate(
            id=-answer.id,  # answers have the positive numbers
            turns=(Turn("user", _TITLE_PROMPT + question[:_EXCERPT_CHARS]),),
            sampling=Sampling(temperature=0.2, seed=0),
            max_tokens=24,
            stop=("\n",),
            think=False,
            max_thought_tokens=0,
        )
        request = Request(command, user_id, on_event, is_background=True)
        self._pool.submit(model, request)

    def _model_is_capable(self, model: str) -> bool:
        if self._mode == "auto":
            found = self._store.get(model)
            return found.remote is not None or found.parameters >= MIN_PARAMETERS
        return self._mode == "on"

    def _is_of_unknown_size(self, model: str) -> bool:
        """Another server may have a model that is too small to write titles."""
        return not self._store.get(model).parameters

    async def _save(self, user_id: int, chat_id: str, title: str) -> None:
        try:
            changed = await self._db.write(
                lambda c: chats.set_generated_title(c, user_id, chat_id, title)
            )
        except WickError as error:
            log.warning("The title of %s was not saved: %s", chat_id, error)
            return
        if changed:
            self._hub.chat_changed(user_id, chat_id)
