"""One look at a chat: what is stored and what is live, as the page and the socket both show it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

from app.chats.context import first_seen
from app.chats.gauge import Gauge, gauge
from app.chats.siblings import Forks
from app.chats.streams import Stream
from app.models.catalogue import CATALOGUE, Source
from app.models.model import Model
from app.store.chats import Chat
from app.store.messages import Message
from app.web import remote_facts
from app.web.blocks import Blocks, Place
from app.web.controls import controls_of
from app.web.markdown import LARGE, render_markdown
from app.web.missing import missing, to_be_had
from app.web.shelf_facts import arrival, readiness
from app.web.shelf_view import default_model
from app.web.state import State
from app.web.views import MessageView, Missing, Option, present
from app.web.window import start_of_part

SMALL: Final = 1_500_000_000
"""Bytes up to which a model is offered to a person who has none yet, and how many of them."""
OFFERED: Final = 3


@dataclass(frozen=True, slots=True)
class ChatView:
    """A chat at one moment, its shown part. `earlier`: how many messages stand before that.

    places: how much of each running answer is in its view.
    """

    chat: Chat | None
    title: str
    views: list[MessageView]
    earlier: int
    places: dict[int, tuple[Blocks, Place]]
    divider: int | None
    is_running: bool
    is_deleted: bool
    gauge: Gauge | None

    @property
    def first(self) -> int | None:
        """The first message of the shown part."""
        return self.views[0].id if self.views else None

    @property
    def said(self) -> str:
        """What those hear who do not see the page, when answering has begun or ended."""
        if self.is_running:
            return "The model is answering."
        last = self.views[-1] if self.views else None
        went_wrong = last is not None and last.status in {"failed", "interrupted"}
        return last.line if last is not None and went_wrong else "The answer has ended."


async def look_at(
    here: State,
    user_id: int,
    chat_id: str,
    first: int | None = None,
    *,
    sought: int | None = None,
    more: int = 0,
) -> ChatView:
    """Reads the stored path, then joins the live streams to it without waiting in between.

    `first`, `sought` and `more` say which part of it is shown, see `start_of_part`.
    """
    chat, path, streams, forks = await _read(here, user_id, chat_id)
    start = start_of_part([m.id for m in path], first, sought=sought, more=more)
    if large := [m for m in path[start:] if len(m.text) > LARGE and m.role == "assistant"]:
        await asyncio.to_thread(_render, large)
        chat, path, streams, forks = await _read(here, user_id, chat_id)
        start = start_of_part([m.id for m in path], first, sought=sought, more=more)
    asked, dropped = _last_read(path, streams)
    live = {number: (s, here.growing.blocks(s)) for number, s in streams.items()}
    return ChatView(
        chat=chat,
        title=chat.title if chat else "New chat",
        views=[
            present(m, live.get(m.id), controls_of(m, forks, is_last=m is path[-1]))
            for m in path[start:]
        ],
        earlier=start,
        places={number: (blocks, blocks.place) for number, (_, blocks) in live.items()},
        divider=first_seen(asked, dropped),
        is_running=here.hub.stream_of_chat(chat_id) is not None,
        is_deleted=chat is not None and chat.deleted_at is not None,
        gauge=gauge(path),
    )


def _render(answers: list[Message]) -> None:
    """So that they are known when they are wanted."""
    for message in answers:
        render_markdown(message.text, message.id)


def _last_read(path: list[Message], streams: dict[int, Stream]) -> tuple[list[Message], int]:
    """What the model was asked last, as far as it has read it, and how many turns it left out.

    Answers that still wait have not been read, and say nothing about the window yet.
    """
    for place in range(len(path) - 1, -1, -1):
        message, stream = path[place], streams.get(path[place].id)
        if stream is not None and stream.prompt_total:
            return path[:place], stream.dropped
        if stream is None and message.role == "assistant" and message.prompt_tokens:
            return path[:place], message.dropped
    return [], 0


async def _read(
    here: State, user_id: int, chat_id: str
) -> tuple[Chat | None, list[Message], dict[int, Stream], Forks]:
    for _ in range(2):  # an answer may end just between its reading and the look for its stream
        chat = await here.chats.find(user_id, chat_id)
        path, forks = await here.chats.messages(chat), await here.chats.siblings(chat)
        streams = {m.id: s for m in path if (s := here.hub.stream(m.id)) is not None}
        if not any(m.status == "queued" and m.id not in streams for m in path):
            break
    return chat, path, streams, forks


async def picker_options(
    here: State, chat: Chat | None, picked: str = ""
) -> tuple[list[Option], str]:
    """The models to choose from, those on their way and to be had included, and the chosen one.

    picked: by the person just now, for a chat that may be yet to begin. A chosen model that has
    gone stays chosen.
    """
    models = await asyncio.to_thread(here.shelf.models)
    workers = {worker.name: worker for worker in here.pool.statuses()}
    options = []
    for model, title in titled(models):
        if model.remote is None:
            options.append(Option(model.name, f"{title} · {readiness(workers.get(model.name))}"))
        else:
            servers = here.pool.remotes.status(model.name)
            label = f"{title} · {remote_facts.readiness(model.remote, servers)}"
            leads_elsewhere = bool(model.remote.hosts_elsewhere)
            options.append(Option(model.name, label, leads_elsewhere=leads_elsewhere))
    names = {model.name for model in models}
    coming = [pull for pull in here.pulls.all() if pull.is_running and pull.name not in names]
    options += [Option(pull.name, f"{pull.title} · {arrival(pull.progress)}") for pull in coming]
    there = {option.name: option for option in options}
    wanted = picked or (chat.model if chat else "")
    options += to_be_had(here, there, wanted)
    usual = [await default_model(here), here.settings.default_model, *there]
    return options, wanted or next((name for name in usual if name in there), "")


async def missing_model(here: State, options: list[Option], chosen: str) -> Missing | None:
    """The chosen model, if it cannot answer and nothing is being done about it."""
    if all(option.state == "here" or option.name != chosen for option in options):
        return None
    return missing(here, chosen, await models_ready(here), await default_model(here))


def titled(models: list[Model]) -> list[tuple[Model, str]]:
    """Models and their titles; two of one title are told apart by their names."""
    count = Counter(model.title for model in models)
    return [
        (model, model.title if count[model.title] == 1 else f"{model.title} ({model.name})")
        for model in models
    ]


async def models_ready(here: State) -> list[Option]:
    """The models that can answer now."""
    models = await asyncio.to_thread(here.shelf.models)
    return [
        Option(
            model.name,
            f"{title}{remote_facts.where(model.remote)}" if model.remote else title,
            leads_elsewhere=bool(model.remote and model.remote.hosts_elsewhere),
        )
        for model, title in titled(models)
    ]


async def models_offered(here: State) -> list[Source]:
    """The models to offer to a person who has none and gets none: small ones, Wick's own first."""
    models = await asyncio.to_thread(here.shelf.models)
    if models or here.pulls.all():
        return []
    small = [source for source in CATALOGUE.values() if source.size < SMALL]
    own = here.settings.default_model
    return sorted(small, key=lambda source: (source.name != own, source.size))[:OFFERED]
