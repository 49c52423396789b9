"""The export files of Wick, ChatGPT and Open WebUI, read into one shape, entry by entry.

Nothing of a file is trusted: what is not as it should be is left out and named, and never keeps the
rest from being read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from app.conversations.attachments import MAX_FILES
from app.conversations.exports import FORMAT, VERSION
from app.conversations.folder_documents import MAX_DOCUMENTS
from app.conversations.folders import MAX_FOLDERS, MAX_INSTRUCTIONS_CHARS
from app.conversations.folders import MAX_NAME_CHARS as MAX_FOLDER_NAME
from app.conversations.imports import third_party
from app.conversations.imports.chat import (
    FinalStatus,
    ImportedAbout,
    ImportedConversation,
    ImportedFolder,
    ImportedMessage,
    Json,
    SkippedChat,
    dict_in,
    dicts_in,
    key_in,
    list_in,
    number_of,
    text_in,
    time_in,
)
from app.conversations.settings import MAX_ABOUT_CHARS, sanitize_text
from app.conversations.tool_calls import encode_calls, sanitize_calls
from app.db.messages import COLUMNS, MAX_TEXT_CHARS, MessageColumn
from app.documents.kinds import MEDIA_TYPES
from app.documents.protocol import MAX_PAGES
from app.documents.protocol import MAX_TEXT_CHARS as MAX_DOCUMENT_CHARS
from app.errors import InvalidMessage

log = logging.getLogger(__name__)
MAX_MESSAGE_CHARS = MAX_TEXT_CHARS
MAX_NAME_CHARS, MAX_ERROR_CHARS = 200, 2000
UNKNOWN = (
    "Wick does not know this file. It reads its own exports (JSON), those of ChatGPT (the zip, or "
    "conversations.json) and those of Open WebUI."
)


Entry = ImportedConversation | ImportedAbout | ImportedFolder | SkippedChat


def parse_export(content: Any) -> Iterator[Entry]:
    """The chats in the content of a JSON file. Raises InvalidMessage when it is none of these."""
    if isinstance(content, dict) and content.get("format") == FORMAT:
        if content.get("version") != VERSION:
            raise InvalidMessage("This file was written by a newer version of Wick. Update Wick.")
        if not isinstance(content.get("chats"), list):
            raise InvalidMessage("Can't read this file: it has no list of chats.")
        if about := sanitize_text(text_in(content.get("about"))).strip()[:MAX_ABOUT_CHARS]:
            yield ImportedAbout(about)
        yield from _folders(content.get("folders"))
        yield from (_entry(entry, place, _wick) for place, entry in enumerate(content["chats"], 1))
        return
    entries = content if isinstance(content, list) else [content]
    if entries and not any(_reader_of(entry) for entry in entries):
        raise InvalidMessage(UNKNOWN)
    yield from (_entry(entry, place, _reader_of(entry)) for place, entry in enumerate(entries, 1))


def _reader_of(entry: Any) -> Callable[[Json], ImportedConversation] | None:
    if not isinstance(entry, dict):
        return None
    if "mapping" in entry:
        return third_party.parse_chatgpt
    is_chat = isinstance(entry.get("chat"), dict) or isinstance(entry.get("history"), dict)
    return third_party.parse_open_webui if is_chat else None


def _entry(
    entry: Any, place: int, reader: Callable[[Json], ImportedConversation] | None
) -> ImportedConversation | SkippedChat:
    if reader is None or not isinstance(entry, dict):
        return SkippedChat(_name(entry, place), "not a chat")
    try:
        return _normalize(reader(entry))
    except (MemoryError, RecursionError):
        raise
    except Exception:
        log.exception("An entry of a file was not read.")
        return SkippedChat(_name(entry, place), "damaged")


def _name(entry: Any, place: int) -> str:
    values = dict_in(entry)
    title = text_in(values.get("title")) or text_in(values.get("name"))
    return " ".join(title.split())[:80] or f"entry {place:,}"


def _wick(entry: Json) -> ImportedConversation:
    return ImportedConversation(
        key=f"wick:{text_in(entry.get('id'))}",
        title=text_in(entry.get("title")),
        model=text_in(entry.get("model")),
        created_at=time_in(entry.get("created_at")),
        updated_at=time_in(entry.get("updated_at")),
        nodes=[_wick_node(item, n) for n, item in enumerate(dicts_in(entry.get("messages")))],
        current=key_in(entry.get("current")),
        is_archived=time_in(entry.get("archived_at")) is not None,
        is_pinned=time_in(entry.get("pinned_at")) is not None,
        is_named=entry.get("title_source") == "person",
        settings=dict_in(entry.get("settings")),
        folder=_folder(dict_in(entry.get("folder"))),
        omitted=sum(not isinstance(item, dict) for item in list_in(entry.get("messages"))),
    )


def _folder(values: Json) -> Json:
    """Read the folder of a chat; none without a name."""
    name = " ".join(sanitize_text(text_in(values.get("name"))).split())[:MAX_FOLDER_NAME]
    if not name:
        return {}
    instructions = sanitize_text(text_in(values.get("instructions"))).strip()
    return {
        "name": name,
        "instructions": instructions[:MAX_INSTRUCTIONS_CHARS],
        "model": sanitize_text(text_in(values.get("model")))[:MAX_NAME_CHARS],
    }


def _folders(value: Any) -> Iterator[ImportedFolder]:
    """Read the folders of a user; those without a name have no chats, either."""
    for entry in list(dicts_in(value))[:MAX_FOLDERS]:
        if values := _folder(entry):
            yield ImportedFolder(values, _files(entry.get("documents"), MAX_DOCUMENTS))


def _wick_node(item: Json, place: int) -> ImportedMessage:
    return ImportedMessage(
        key=key_in(item.get("id")) or f"place {place}",
        parent=key_in(item.get("parent")),
        role=text_in(item.get("role")),
        text=text_in(item.get("text")),
        at=time_in(item.get("created_at")),
        model=text_in(item.get("model")) or None,
        status=_ending(item.get("status")),
        error=text_in(item.get("error")) or None,
        settings=dict_in(item.get("settings")),
        results=_results(item),
        finished_at=time_in(item.get("finished_at")),
        attachments=_files(item.get("attachments")),
    )


def _files(value: Any, most: int = MAX_FILES) -> list[Json]:
    """Read the files of a message; those without content have nothing that could be kept."""
    found = map(_file, dicts_in(value))
    return [file for file in found if file["text"].strip() or file.get("data")][:most]


def _file(file: Json) -> Json:
    found = {"name": text_in(file.get("name")), "text": text_in(file.get("text"))}
    is_document = file.get("kind") == "document"
    found["text"] = found["text"][: MAX_DOCUMENT_CHARS if is_document else MAX_MESSAGE_CHARS]
    if file.get("kind") == "document":
        return found | _document(file)
    if file.get("kind") not in {"image", "audio"}:
        return found
    about = {"alt": text_in(file.get("alt")), "gives_text": file.get("gives_text") is not False}
    data = file.get("data")
    return found | about | {"kind": file["kind"], "data": data if isinstance(data, str) else ""}


def _document(file: Json) -> Json:
    """Read what an export says of a document; without a type it is plain text."""
    media_type = text_in(file.get("media_type"))
    pages = number_of(file.get("pages")) or 0
    return {
        "media_type": media_type if media_type in MEDIA_TYPES.values() else "",
        "pages": int(pages) if 0 <= pages <= MAX_PAGES else 0,
        "note": text_in(file.get("note")),
    }


def _ending(value: Any) -> FinalStatus:
    """An answer that was being written when the file was, or ended in a way unknown, was cut."""
    if value is None or value == "done":
        return "done"
    if value == "stopped":
        return "stopped"
    return "failed" if value == "failed" else "interrupted"


def _results(item: Json) -> Json:
    """Read how the run went: what no run could have ended with is left out."""
    found = {
        name: _result(item.get(name), column)
        for name, column in COLUMNS.items()
        if column.is_result and column.in_files and name != "calls"
    }
    if calls := encode_calls(sanitize_calls(item.get("calls"))):
        found["calls"] = calls
    return {name: value for name, value in found.items() if value is not None}


def _result(value: Any, column: MessageColumn) -> str | float | None:
    if column.kind is str:
        text = text_in(value)[: column.maximum]
        return text if text and (not column.choices or text in column.choices) else None
    number = number_of(value)
    if number is None or not 0 <= number <= column.maximum:
        return None
    return column.kind(number)


def _normalize(chat: ImportedConversation) -> ImportedConversation:
    """Keep what user and model said, each hung to the nearest such message before it.

    Parents first; what hangs in a circle or nowhere is not reached, and so left out.
    """
    by_key = {node.key: node for node in chat.nodes}
    children: dict[str | None, list[str]] = {}
    for node in by_key.values():  # an id that comes twice would be walked twice, at every level
        parent = node.parent if node.parent in by_key else None
        children.setdefault(parent, []).append(node.key)
    kept: dict[str, str | None] = {}
    """For each message, the nearest kept one from itself upwards."""
    ordered: list[ImportedMessage] = []
    waiting: list[tuple[str, str | None]] = [(key, None) for key in children.get(None, [])]
    waiting.reverse()
    while waiting:
        key, above = waiting.pop()
        node = by_key[key]
        chat.omitted += _loses(node)
        is_said = node.text.strip() or node.error or node.attachments or node.results.get("calls")
        if node.role in {"user", "assistant"} and is_said:
            node.parent, above = above, key
            ordered.append(_bounded(node))
        kept[key] = above
        waiting += [(child, above) for child in reversed(children.get(key, []))]
    chat.omitted += len(chat.nodes) - len(kept)
    chat.nodes = ordered
    chat.title, chat.model = chat.title[:1000], chat.model[:MAX_NAME_CHARS]
    if chat.key.endswith(":"):  # a file without ids: the same words are the same chat
        said = json.dumps([chat.title, *(node.text for node in ordered)])
        chat.key += hashlib.sha256(said.encode()).hexdigest()[:32]
    chat.key = chat.key[:MAX_NAME_CHARS]
    chat.current = kept.get(chat.current or "") or (ordered[-1].key if ordered else None)
    return chat


def _loses(node: ImportedMessage) -> bool:
    """Tell whether something of a message is not taken over."""
    is_strange = node.role not in {"user", "assistant", "system"} and bool(node.text.strip())
    return node.is_omitted or is_strange or len(node.text) > MAX_MESSAGE_CHARS


def _bounded(node: ImportedMessage) -> ImportedMessage:
    node.text = node.text[:MAX_MESSAGE_CHARS]
    node.model = node.model and node.model[:MAX_NAME_CHARS]
    node.error = node.error and node.error[:MAX_ERROR_CHARS]
    return node
