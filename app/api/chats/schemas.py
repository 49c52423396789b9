"""Wick's own resources as programs see them: chats, and the messages in them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.api.parameters import SettingsParameters
from app.conversations.answer_state import LiveAnswer
from app.conversations.attachments import MAX_ALT_CHARS, MAX_FILES, MAX_PICTURE_TEXT_CHARS
from app.conversations.chat_tools import MAX_TOOLS
from app.conversations.settings import ChatSettings
from app.conversations.tool_calls import CallRecord, CallStatus, Decision, parse_calls
from app.db.attachments import Attachment
from app.db.chats import Chat
from app.db.messages import COLUMNS, Message
from app.documents.given import GivenDocument, decode_given
from app.inference.kv_files import is_memory_only

ChatId = Annotated[str, Meta(pattern="^t?[0-9a-f]{16}$")]
ClientId = Annotated[str, Meta(pattern="^[0-9A-Za-z]{8,64}$")]
Text = Annotated[str, Meta(min_length=1)]
FileIds = Annotated[list[Annotated[int, Meta(ge=1, le=10**15)]], Meta(max_length=MAX_FILES)]
FolderId = Annotated[int, Meta(ge=1, le=10**15)]
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
    """Times in seconds since 1970, null where it is not so; answering: it is being answered;
    temporary: it is kept in memory alone; folder: the id of that it is in; persona: the id of that
    it began with, while there is one."""

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
    temporary: bool
    folder: int | None
    persona: int | UnsetType | None = UNSET
    settings: SettingsObject | UnsetType = UNSET
    object: Literal["chat"] = "chat"


class FileObject(msgspec.Struct, kw_only=True):
    """A file for a message. kind: `text`, `document`, `image` or `audio`; size: bytes; tokens: how
    many a model is given of it; counted_by: the model whose tokenizer counted them, null for an
    estimate.

    Of a picture also width, height: pixels, alt: what it shows, gives_text: whether a model that
    sees no pictures is given the text in it; of a sound that for what is said in it. Of a document
    also pages: how many it has, 0 when nobody knows, note: what of it is not in its text."""

    id: int
    name: str
    kind: str
    media_type: str
    size: int
    tokens: int
    counted_by: str | None = None
    width: int = 0
    height: int = 0
    alt: str = ""
    gives_text: bool = True
    pages: int = 0
    note: str = ""
    object: Literal["file"] = "file"


class FileList(msgspec.Struct):
    data: list[FileObject]
    object: Literal["list"] = "list"


class FileChange(msgspec.Struct, kw_only=True):
    """alt: what a picture shows; text: what is written in it; gives_text: whether a model that sees
    no pictures is given that. What is left out or null stays."""

    alt: Annotated[str, Meta(max_length=MAX_ALT_CHARS)] | None = None
    text: Annotated[str, Meta(max_length=MAX_PICTURE_TEXT_CHARS)] | None = None
    gives_text: bool | None = None


class CallObject(msgspec.Struct, kw_only=True):
    """A call of a tool in an answer. number: in its answer, from 0; title: of the tool; arguments:
    a JSON object as text; result: what it gave, or what went wrong; seconds: that it ran;
    text_place: characters of the answer that stand before it."""

    number: int
    id: str
    name: str
    title: str
    arguments: str
    status: CallStatus
    result: str
    seconds: float | None
    text_place: int


class CallDecision(msgspec.Struct, kw_only=True):
    """Decision on a call: allow it once, always in this chat, or deny it."""

    decision: Decision


class ToolObject(msgspec.Struct, kw_only=True):
    """A tool that may be switched on in a chat. source: who offers it; on: models may call it here;
    permission: whether each call asks."""

    name: str
    title: str
    description: str
    source: str
    on: bool
    permission: Literal["ask", "allow"]
    object: Literal["tool"] = "tool"


class ToolList(msgspec.Struct):
    data: list[ToolObject]
    object: Literal["list"] = "list"


class ToolChoice(msgspec.Struct, kw_only=True):
    """Tools to be on in a chat, by their names; all others are off."""

    on: Annotated[list[str], Meta(max_length=MAX_TOOLS)]


class FileText(msgspec.Struct):
    """text: what was recognized in a picture, or what models are given of another file."""

    text: str


class ChatList(msgspec.Struct):
    """next: what to give as `after` for the next page, null where there is none."""

    data: list[ChatObject]
    next: str | None
    object: Literal["list"] = "list"


_API_COLUMNS: Final = tuple(name for name, row in COLUMNS.items() if row.in_api)
_WIRE_TYPES: Final[dict[str, Any]] = {
    **{"chat_id": ChatId, "status": Status, "documents": tuple[GivenDocument, ...]},
}
"""Types of columns that the API says more exactly, or with more states, than the database."""


def _message_struct() -> type[msgspec.Struct]:
    types = get_type_hints(Message) | _WIRE_TYPES
    columns: list[tuple[str, Any]] = [(name, types[name]) for name in _API_COLUMNS]
    more: list[tuple[str, Any, Any]] = [
        ("place", int | None, None),
        ("seconds", float | None, None),
        ("attachments", list[FileObject], msgspec.field(default_factory=list)),
        ("calls", list[CallObject], msgspec.field(default_factory=list)),
        ("object", Literal["message"], "message"),
    ]
    about = (
        "A turn of a chat. place, seconds: in the queue while it waits there; error: why it failed;"
        " dropped: how many of the oldest turns the model did not see; documents: what it was given"
        " of the chat's documents, whole where given is pages; thought: what it reasoned"
        " before its answer, for `thought_seconds`; calls: the tools that it called."
    )
    return msgspec.defstruct(
        "MessageObject",
        [*columns, *more],
        kw_only=True,
        module=__name__,
        namespace={"__doc__": about},
    )


if TYPE_CHECKING:

    class MessageObject(msgspec.Struct, kw_only=True):
        """One message with its columns, and its place in the queue."""

        def __init__(self, **values: Any) -> None: ...

else:
    MessageObject = _message_struct()


class MessageList(msgspec.Struct):
    data: list[MessageObject]
    object: Literal["list"] = "list"


class NewChat(msgspec.Struct, kw_only=True):
    """A chat begins with its first message. model: null takes the default one. attachments: ids of
    files that no message has. temporary: it is kept in memory alone, in no list and no search, and
    ends when it is deleted, when the server ends, or an hour after its last request; its files are
    uploaded as temporary ones. persona: the id of one whose settings and model the chat gets.
    tools: names of those that are on in it."""

    text: Text
    model: str | None = None
    title: Title | None = None
    settings: SettingsObject | None = None
    temporary: bool = False
    folder: FolderId | None = None
    client_id: ClientId | None = None
    attachments: FileIds = msgspec.field(default_factory=list)
    persona: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    tools: Annotated[list[str], Meta(max_length=MAX_TOOLS)] = msgspec.field(default_factory=list)


class ChatChange(msgspec.Struct, kw_only=True):
    """Changes to a chat; what is left out stays as it is. deleted: into the trash, or out of it;
    folder: null takes it out of its folder."""

    title: Title | UnsetType = UNSET
    model: str | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    folder: FolderId | UnsetType | None = UNSET
    settings: SettingsObject | UnsetType = UNSET


class EditedMessage(msgspec.Struct, kw_only=True):
    """Other words for a prompt. model: null takes that of the chat; attachments: which of its
    files it keeps, null for all."""

    text: Text
    model: str | None = None
    client_id: ClientId | None = None
    attachments: FileIds | None = None


class NewMessage(EditedMessage, kw_only=True):
    """model: null takes that of the chat; attachments: ids of files that no message has."""

    attachments: FileIds = msgspec.field(default_factory=list)


class RegenerateRequest(msgspec.Struct, kw_only=True):
    """model: null takes that of the answer there is; length: shorter or longer than that, which
    the model is told beside the prompt."""

    model: str | None = None
    length: Literal["shorter", "longer"] | None = None
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
        temporary=is_memory_only(chat.id),
        folder=chat.folder_id,
    )


def settings_object(chosen: ChatSettings) -> SettingsObject:
    values: dict[str, Any] = {**chosen.overrides}
    return SettingsObject(**values | {"stop": list(values.get("stop") or ()) or None})


def message_object(message: Message, stream: LiveAnswer | None) -> MessageObject:
    """`stream`: its live state, while it has one."""
    values = {name: getattr(message, name) for name in _API_COLUMNS}
    values["documents"] = decode_given(message.documents)
    values["calls"] = call_objects(parse_calls(message.calls) if stream is None else stream.calls)
    values["attachments"] = [file_object(file) for file in message.attachments]
    return MessageObject(**values | ({} if stream is None else _live_values(stream)))


def call_objects(calls: Sequence[CallRecord]) -> list[CallObject]:
    names = [name for name in CallObject.__struct_fields__ if name != "number"]
    return [
        CallObject(number=number, **{name: getattr(call, name) for name in names})
        for number, call in enumerate(calls)
    ]


_FILE_FIELDS: Final = tuple(name for name in Attachment.__slots__ if name != "digest")


def file_object(file: Attachment) -> FileObject:
    values = {name: getattr(file, name) for name in _FILE_FIELDS}
    return FileObject(**values | {"counted_by": file.counted_by or None})


def _live_values(stream: LiveAnswer) -> dict[str, Any]:
    """Columns that are stored only when the answer has ended, and its place in the queue."""
    return {
        "text": stream.text,
        "status": stream.status,
        "thought": stream.thought or None,
        "thought_seconds": stream.thought_seconds if stream.thought else None,
        "place": stream.position or None,
        "seconds": stream.eta_seconds,
    }
