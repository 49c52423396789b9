"""One look at a chat for page and socket alike, with the models it can use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from app.conversations.answer_state import LiveAnswer
from app.conversations.history import ContextUsage, SiblingIndex, context_usage, first_in_context
from app.conversations.starters import suggestions_for
from app.db.chats import Chat
from app.db.messages import Message
from app.errors import ModelError
from app.inference.kv_files import is_memory_only
from app.models.catalogue import CatalogueEntry, kind_of, offers
from app.models.model import Model
from app.web.context import ServerContext
from app.web.render import cards
from app.web.render.cards import describe_progress, describe_readiness, find_better, fits
from app.web.render.markdown import LARGE_CHARS, render_markdown, render_prompt
from app.web.render.messages import (
    MessageView,
    ModelOption,
    ShownAnswer,
    UnavailableModel,
    message_actions,
    page_start,
    present,
    shown,
)
from app.web.render.model_names import unique_titles
from app.web.render.models import default_model
from app.web.security.identity import is_owner

# Models that are not on this machine: those to be had, and one that a chat was with.


def downloadable(context: ServerContext, there: Collection[str], wanted: str) -> list[ModelOption]:
    """Return what the user could download and would fit the memory; and `wanted`, whatever it is.

    there: names that are installed or on their way; when none is, the page offers some itself.
    """
    options = [
        _option(entry.name, entry.title, "needs download", state="to get")
        for entry in offers()
        if there
        and is_owner()
        and entry.kind == "text"
        and entry.name not in there
        and fits(entry, context.settings, context.pool.gpu_bytes)
    ]
    if not wanted or wanted in {*there, *(option.name for option in options)}:
        return options
    origin = context.pulls.origins.find(wanted)
    title = wanted if origin is None else origin.title
    if origin is not None and origin.text:
        return [*options, _option(wanted, title, "needs download", state="to get")]
    return [*options, _option(wanted, title, "not installed", state="gone")]


def find_unavailable(
    context: ServerContext, name: str, ready: Sequence[ModelOption], default: str
) -> UnavailableModel | None:
    """Return None when it is being downloaded, or failed to, which is shown already."""
    if context.pulls.get(name) is not None:
        return None
    source = context.pulls.origins.find(name)
    usual = next((option for option in ready if option.name == default), None)
    return UnavailableModel(
        name,
        title=name if source is None else source.title,
        size=source.size if source is not None and source.text else 0,
        instead=usual or next(iter(ready), None),
    )


# One look at a chat: what is stored and what is live, as the page and the socket both show it.


SMALL_MODEL_BYTES: Final = 1_500_000_000
"""Bytes up to which a model is offered to a user who has none yet, and how many of them."""
MAX_SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class ChatView:
    """A chat at one moment, its shown part. `earlier`: how many messages stand before that.

    markers: how much of each running answer is in its view.
    """

    chat: Chat | None
    title: str
    views: list[MessageView]
    earlier: int
    markers: dict[int, ShownAnswer]
    divider: int | None
    is_running: bool
    is_deleted: bool
    gauge: ContextUsage | None

    @property
    def first(self) -> int | None:
        """The first message of the shown part."""
        return self.views[0].id if self.views else None

    @property
    def announcement(self) -> str:
        """Text for screen readers when answering has begun or ended."""
        if self.is_running:
            return "The model is answering."
        is_answer = bool(self.views) and self.views[-1].role == "assistant"
        return self.views[-1].announcement if is_answer else "The answer has ended."


async def load_chat_view(
    context: ServerContext,
    user_id: int,
    chat_id: str,
    first: int | None = None,
    *,
    sought: int | None = None,
    more: int = 0,
) -> ChatView:
    """Reads the stored path, then joins the live streams to it without waiting in between.

    `first`, `sought` and `more` say which part of it is shown, see `page_start`.
    """
    chat, path, streams, forks = await _read(context, user_id, chat_id)
    start = page_start([m.id for m in path], first, sought=sought, more=more)
    if large := [m for m in path[start:] if len(m.text) > LARGE_CHARS]:
        await asyncio.to_thread(_render, large)
        chat, path, streams, forks = await _read(context, user_id, chat_id)
        start = page_start([m.id for m in path], first, sought=sought, more=more)
    asked, dropped = _last_read(path, streams)
    names = context.model_names.titles
    live = {number: (s, context.renderers.blocks(s)) for number, s in streams.items()}
    return ChatView(
        chat=chat,
        title=_title(chat_id, chat),
        views=[
            present(m, live.get(m.id), message_actions(m, forks, is_last=m is path[-1]), names)
            for m in path[start:]
        ],
        earlier=start,
        markers={number: shown(*answer) for number, answer in live.items()},
        divider=first_in_context(asked, dropped),
        is_running=context.hub.stream_of_chat(chat_id) is not None,
        is_deleted=chat is not None and chat.deleted_at is not None,
        gauge=context_usage(path),
    )


def _title(chat_id: str, chat: Chat | None) -> str:
    """The words of a temporary chat would stay in the browser's history."""
    if is_memory_only(chat_id):
        return "Temporary chat"
    return chat.title if chat else "New chat"


def _render(large: list[Message]) -> None:
    """Render large messages into the cache."""
    for message in large:
        if message.role == "user":
            render_prompt(message.text)
        else:
            render_markdown(message.text, message.id)


def _last_read(path: list[Message], streams: dict[int, LiveAnswer]) -> tuple[list[Message], int]:
    """Return the last prompt, as far as the model has read it, and how many turns it left out.

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
    context: ServerContext, user_id: int, chat_id: str
) -> tuple[Chat | None, list[Message], dict[int, LiveAnswer], SiblingIndex]:
    for _ in range(2):  # an answer may end just between its reading and the look for its stream
        chats = context.of(chat_id).chats
        chat = await chats.get(user_id, chat_id)
        path, forks = await chats.messages(chat), await chats.siblings(chat)
        await context.model_names.load(m.model for m in path)
        streams = {m.id: s for m in path if (s := context.hub.stream(m.id)) is not None}
        if not any(m.status == "queued" and m.id not in streams for m in path):
            break
    return chat, path, streams, forks


async def picker_options(
    context: ServerContext, chat: Chat | None, picked: str = ""
) -> tuple[list[ModelOption], str]:
    """The models to choose from, those on their way and to be had included, and the chosen one.

    picked: by the user just now, for a chat that may be yet to begin. A chosen model that has
    gone stays chosen.
    """
    models = await _chat_models(context)
    workers = {worker.name: worker for worker in context.pool.statuses()}
    options = []
    for model, title in unique_titles(models):
        if model.remote is None:
            ready = describe_readiness(workers.get(model.name))
            end, leads_elsewhere = f" · {model.engine}", False
        else:
            ready = cards.HEALTH[cards.describe_health(context.pool.remotes.status(model.name))]
            end = cards.describe_location(model.remote)
            leads_elsewhere = bool(model.remote.external_hosts)
        option = _option(model.name, title, ready, end, is_external=leads_elsewhere)
        options.append(replace(option, sees=model.sees, hears=model.hears))
    names = {model.name for model in models}
    coming = [
        pull
        for pull in context.pulls.all()
        if pull.is_running and pull.name not in names and kind_of(pull.name) == "text"
    ]
    options += [_option(pull.name, pull.title, describe_progress(pull.progress)) for pull in coming]
    there = {option.name: option for option in options}
    wanted = picked or (chat.model if chat else "")
    options += downloadable(context, there, wanted)
    default = [await default_model(context), context.settings.default_model, *there]
    return options, wanted or next((name for name in default if name in there), "")


async def suggested_starters(context: ServerContext, model: str) -> tuple[str, ...]:
    """Return texts that a new chat with this model may begin with; none without a model."""
    found = None
    with contextlib.suppress(ModelError):
        found = await asyncio.to_thread(context.store.get, model)
    return suggestions_for(found) if model else ()


def _option(
    name: str,
    title: str,
    readiness: str,
    end: str = "",
    state: Literal["here", "to get", "gone"] = "here",
    *,
    is_external: bool = False,
) -> ModelOption:
    label = f"{title} · {readiness}{end}"
    return ModelOption(name, label, state, is_external, title, readiness)


async def missing_model(
    context: ServerContext, options: list[ModelOption], chosen: str
) -> UnavailableModel | None:
    """The chosen model, if it cannot answer and nothing is being done about it."""
    if all(option.state == "here" or option.name != chosen for option in options):
        return None
    return find_unavailable(
        context, chosen, await models_ready(context), await default_model(context)
    )


async def _chat_models(context: ServerContext) -> list[Model]:
    """List the models that can chat; embedding models can't."""
    models = await asyncio.to_thread(context.store.models)
    return [model for model in models if model.kind == "text"]


async def models_ready(context: ServerContext) -> list[ModelOption]:
    """The models that can answer now."""
    models = await _chat_models(context)
    return [
        ModelOption(
            model.name,
            f"{title}{cards.describe_location(model.remote)}" if model.remote else title,
            is_external=bool(model.remote and model.remote.external_hosts),
        )
        for model, title in unique_titles(models)
    ]


async def suggested_models(context: ServerContext) -> list[CatalogueEntry]:
    """The models to offer to a user who has none and gets none: small ones, Wick's own first."""
    models = await asyncio.to_thread(context.store.models)
    if models or context.pulls.all():
        return []
    small = [e for e in offers() if e.kind == "text" and e.size < SMALL_MODEL_BYTES]
    own = context.settings.default_model
    return sorted(small, key=lambda entry: (entry.name != own, entry.size))[:MAX_SUGGESTIONS]


async def better_model(context: ServerContext) -> CatalogueEntry | None:
    """A model that is worth a download; none for whoever cannot download it."""
    if not is_owner():
        return None
    models = await asyncio.to_thread(context.store.models)
    coming = {pull.name for pull in context.pulls.all()}
    return find_better(models, coming, context.settings, context.pool.gpu_bytes)
