"""Wick's own resources as programs see them: chats, and the messages in them."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.api.parameters import SettingsParameters
from app.conversations.hub import LiveAnswer
from app.conversations.settings import ChatSettings
from app.db.chats import Chat
from app.db.messages import Message

ChatId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
ClientId = Annotated[str, Meta(pattern="^[0-9A-Za-z]{8,64}$")]
Text = Annotated[str, Meta(min_length=1)]
Title = Annotated[str, Meta(min_length=1, max_length=1000)]
Status = Literal[
    "queued", "loading", "prefill", "streaming", "done", "stopped", "failed", "interrupted"
]


class SettingsObject(SettingsParameters, kw_only=True):
    """Settings of a chat's next answers; null is the model's default."""

    def overrides(self) -> ChatSettings:
        values = msgspec.structs.asdict(self)
        stop = values.pop("stop")
        return ChatSettings(stop=tuple(stop) if stop else None, **values)


class ChatObject(msgspec.Struct, kw_only=True):
    """Times in seconds since 1970, null where it is not so; answering: it is being answered."""

    id: ChatId
    title: str
    model: str
    created_at: float
    updated_at: float
    pinned_at: float | None
    archived_at: float | None
    deleted_at: float | None
    unread: bool
    answering: bool
    settings: SettingsObject | UnsetType = UNSET
    object: Literal["chat"] = "chat"


class ChatList(msgspec.Struct):
    """next: what to give as `after` for the next page, null where there is none."""

    data: list[ChatObject]
    next: str | None
    object: Literal["list"] = "list"


class MessageObject(msgspec.Struct, kw_only=True):
    """A turn of a chat. place, seconds: in the queue while it waits there; error: why it failed.

    dropped: how many of the oldest turns the model did not see.
    """

    id: int
    chat_id: ChatId
    parent_id: int | None
    role: Literal["user", "assistant"]
    text: str
    status: Status
    model: str | None
    error: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    prefill_seconds: float | None
    decode_seconds: float | None
    first_token_seconds: float | None
    context_length: int | None
    dropped: int
    created_at: float
    finished_at: float | None
    place: int | None = None
    seconds: float | None = None
    object: Literal["message"] = "message"


class MessageList(msgspec.Struct):
    data: list[MessageObject]
    object: Literal["list"] = "list"


class NewChat(msgspec.Struct, kw_only=True):
    """A chat begins with its first message. model: null takes the default one."""

    text: Text
    model: str | None = None
    title: Title | None = None
    settings: SettingsObject | None = None
    client_id: ClientId | None = None


class ChatChange(msgspec.Struct, kw_only=True):
    """Changes to a chat; what is left out stays as it is. deleted: into the trash, or out of it."""

    title: Title | UnsetType = UNSET
    model: str | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    settings: SettingsObject | UnsetType = UNSET


class NewMessage(msgspec.Struct, kw_only=True):
    """model: null takes that of the chat."""

    text: Text
    model: str | None = None
    client_id: ClientId | None = None


class RegenerateRequest(msgspec.Struct, kw_only=True):
    """model: null takes that of the answer there is."""

    model: str | None = None
    client_id: ClientId | None = None


class SubmittedAnswer(msgspec.Struct, kw_only=True):
    """A prompt and the answer that is to come; `events`: where it can be followed.

    prompt: null for an answer that came without one in an import.
    """

    chat: ChatObject
    prompt: MessageObject | None
    answer: MessageObject
    events: str


def chat_object(chat: Chat, running: Set[str]) -> ChatObject:
    return ChatObject(
        id=chat.id,
        title=chat.title,
        model=chat.model,
        created_at=chat.created_at,
        updated_at=chat.updated_at,
        pinned_at=chat.pinned_at,
        archived_at=chat.archived_at,
        deleted_at=chat.deleted_at,
        unread=bool(chat.is_unread),
        answering=chat.id in running,
    )


def settings_object(chosen: ChatSettings) -> SettingsObject:
    values: dict[str, Any] = {**chosen.overrides}
    return SettingsObject(**values | {"stop": list(values.get("stop") or ()) or None})


_COPIED = tuple(
    name
    for name in MessageObject.__struct_fields__
    if name not in {"object", "place", "seconds", "text", "status"}
)


def message_object(message: Message, stream: LiveAnswer | None) -> MessageObject:
    """`stream`: its live state, while it has one."""
    values = asdict(message)
    copied = {name: values[name] for name in _COPIED}
    if stream is None:
        return MessageObject(text=message.text, status=message.status, **copied)
    return MessageObject(
        text=stream.text,
        status=stream.status,
        place=stream.position or None,
        seconds=stream.eta_seconds,
        **copied,
    )
