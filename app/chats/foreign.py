"""The export files of Wick, ChatGPT and Open WebUI, read into one shape.

Nothing of a file is trusted: what is not as it should be is left out, or makes the file unreadable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from app.chats.exports import FORMAT, VERSION
from app.errors import InvalidMessage

Json = dict[str, Any]
Ending = Literal["done", "stopped", "failed", "interrupted"]
_NUMBERS = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "prefill_seconds",
    "decode_seconds",
    "first_token_seconds",
    "context_length",
    "finished_at",
)
# Where ChatGPT's page shows a source, and what Open WebUI's folds away: thoughts, each line of them
# quoted already, and calls of tools.
_CITATION = re.compile("\ue200[^\ue200\ue201]*\ue201")
_FOLDED = re.compile(r'<details type="[^<>]*>\s*<summary>([^<]*)</summary>')
_PARAMS = ("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens")


@dataclass(slots=True)
class Node:
    """One message as a file has it. `parent`: the key of the one before it."""

    key: str
    parent: str | None
    role: str
    text: str
    at: float | None = None
    model: str | None = None
    status: Ending = "done"
    error: str | None = None
    finish_reason: str | None = None
    settings: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Foreign:
    """One chat of a file: messages in an order in which parents come first. Times in seconds."""

    key: str
    title: str
    model: str
    created_at: float | None
    updated_at: float | None
    nodes: list[Node]
    current: str | None
    is_archived: bool = False
    is_pinned: bool = False
    is_named: bool = True
    settings: Json = field(default_factory=dict)


def read(content: Any) -> list[Foreign]:
    """The chats in the content of a JSON file. Raises InvalidMessage when it is none of these."""
    reader: Callable[[Json], Foreign]
    if isinstance(content, dict) and content.get("format") == FORMAT:
        if content.get("version") != VERSION:
            raise InvalidMessage("This file was written by a later version of Wick. Update Wick.")
        entries, reader = content.get("chats"), _wick
    else:
        entries = content if isinstance(content, list) else [content]
        first = next((entry for entry in entries if isinstance(entry, dict)), {})
        if isinstance(first.get("mapping"), dict):
            reader = _chatgpt
        elif isinstance(first.get("chat"), dict):
            reader = _open_webui
        else:
            raise InvalidMessage(
                "Wick does not know this file. It reads its own exports (JSON), those of ChatGPT "
                "(the zip, or conversations.json) and those of Open WebUI."
            )
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidMessage("This file is damaged: it holds something that is no chat.")
    return [_sound(reader(entry)) for entry in entries]


def _wick(entry: Json) -> Foreign:
    nodes = []
    for item in _dicts(entry.get("messages")):
        settings = item.get("settings")
        status = item.get("status")
        nodes.append(
            Node(
                key=str(item.get("id")),
                parent=None if item.get("parent") is None else str(item["parent"]),
                role=_text(item.get("role")),
                text=_text(item.get("text")),
                at=_time(item.get("created_at")),
                model=_text(item.get("model")) or None,
                status=status if status in {"done", "stopped", "failed"} else "interrupted",
                error=_text(item.get("error")) or None,
                finish_reason=_text(item.get("finish_reason")) or None,
                settings=json.dumps(settings) if isinstance(settings, dict) else None,
                numbers={n: v for n in _NUMBERS if (v := _number(item.get(n))) is not None},
            )
        )
    return Foreign(
        key=f"wick:{_text(entry.get('id'))}",
        title=_text(entry.get("title")),
        model=_text(entry.get("model")),
        created_at=_time(entry.get("created_at")),
        updated_at=_time(entry.get("updated_at")),
        nodes=nodes,
        current=None if entry.get("current") is None else str(entry["current"]),
        is_archived=_time(entry.get("archived_at")) is not None,
        is_pinned=_time(entry.get("pinned_at")) is not None,
        is_named=entry.get("title_source") == "person",
        settings=_dict(entry.get("settings")),
    )


def _chatgpt(entry: Json) -> Foreign:
    nodes = []
    for key, value in _dict(entry.get("mapping")).items():
        item = _dict(value)
        message = _dict(item.get("message"))
        extra, author = _dict(message.get("metadata")), _dict(message.get("author"))
        # What an assistant sends to a tool is not said to the person; nor is what is hidden.
        is_said = message.get("recipient", "all") == "all" and not extra.get(
            "is_visually_hidden_from_conversation"
        )
        nodes.append(
            Node(
                key=key,
                parent=item.get("parent") if isinstance(item.get("parent"), str) else None,
                role=_text(author.get("role")) if is_said else "",
                text=_chatgpt_text(message.get("content")),
                at=_time(message.get("create_time")),
                model=_text(extra.get("model_slug")) or None,
            )
        )
    slugs = [node.model for node in nodes if node.model]
    return Foreign(
        key=f"chatgpt:{_text(entry.get('conversation_id')) or _text(entry.get('id'))}",
        title=_text(entry.get("title")),
        model=_text(entry.get("default_model_slug")) or (slugs[-1] if slugs else ""),
        created_at=_time(entry.get("create_time")),
        updated_at=_time(entry.get("update_time")),
        nodes=nodes,
        current=_text(entry.get("current_node")) or None,
        is_archived=entry.get("is_archived") is True,
    )


def _chatgpt_text(content: Any) -> str:
    """What a person reads: text parts; pictures and files are not in the file."""
    if not isinstance(content, dict) or content.get("content_type") not in {
        "text",
        "multimodal_text",
    }:
        return ""
    parts = content.get("parts")
    said = []
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, dict):
            said.append(_CITATION.sub("", _text(part)))
        elif "text" in part:
            said.append(_text(part["text"]))
        elif "audio" not in _text(part.get("content_type")):  # of which the words are here as well
            said.append("[not in the export: a picture or a file]")
    return "\n\n".join(piece for piece in said if piece)


def _open_webui(entry: Json) -> Foreign:
    chat = _dict(entry.get("chat"))
    history = _dict(chat.get("history"))
    nodes = [
        Node(
            key=key,
            parent=item.get("parentId") if isinstance(item.get("parentId"), str) else None,
            role=_text(item.get("role")),
            text=_open_webui_text(item.get("content")),
            at=_time(item.get("timestamp")),
            model=_text(item.get("model")) or None,
        )
        for key, item in _dict(history.get("messages")).items()
        if isinstance(item, dict)
    ]
    models, params = chat.get("models"), _dict(chat.get("params"))
    extra = _dict(entry.get("meta"))
    return Foreign(
        key=f"openwebui:{_text(entry.get('id')) or _text(chat.get('id'))}",
        title=_text(entry.get("title")) or _text(chat.get("title")),
        model=_text(models[0]) if isinstance(models, list) and models else "",
        created_at=_time(entry.get("created_at")) or _time(chat.get("timestamp")),
        updated_at=_time(entry.get("updated_at")),
        nodes=nodes,
        current=_text(history.get("currentId")) or None,
        is_archived=entry.get("archived") is True,
        is_pinned=(entry.get("pinned") or extra.get("pinned")) is True,
        settings={name: params.get(name) for name in _PARAMS}
        | {"system_prompt": params.get("system")},
    )


def _open_webui_text(content: Any) -> str:
    if isinstance(content, list):
        return "\n\n".join(_text(part.get("text")) for part in _dicts(content) if part.get("text"))
    text, count = _FOLDED.subn(r"*\1*\n", _text(content))
    return text.replace("</details>\n", "\n", count)


def _sound(chat: Foreign) -> Foreign:
    """Only what was said by person and model, hung to the nearest such message before it.

    Parents first; what hangs in a circle or nowhere is not reached, and so left out.
    """
    by_key = {node.key: node for node in chat.nodes}
    children: dict[str | None, list[str]] = {}
    for node in by_key.values():  # an id that comes twice would be walked twice, at every level
        parent = node.parent if node.parent in by_key else None
        children.setdefault(parent, []).append(node.key)
    kept: dict[str, str | None] = {}
    """For each message, the nearest kept one from itself upwards."""
    ordered: list[Node] = []
    waiting: list[tuple[str, str | None]] = [(key, None) for key in children.get(None, [])]
    waiting.reverse()
    while waiting:
        key, above = waiting.pop()
        node = by_key[key]
        if node.role in {"user", "assistant"} and (node.text.strip() or node.error):
            node.parent, above = above, key
            ordered.append(node)
        kept[key] = above
        waiting += [(child, above) for child in reversed(children.get(key, []))]
    chat.nodes = ordered
    if chat.key.endswith(":"):  # a file without ids: the same words are the same chat
        said = json.dumps([chat.title, *(node.text for node in ordered)])
        chat.key += hashlib.sha256(said.encode()).hexdigest()[:32]
    chat.current = kept.get(chat.current or "") or (ordered[-1].key if ordered else None)
    return chat


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> Iterator[Json]:
    return (item for item in (value if isinstance(value, list) else []) if isinstance(item, dict))


def _text(value: Any) -> str:
    """Text that SQLite and UTF-8 can hold; anything else is nothing."""
    if not isinstance(value, str):
        return ""
    text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and -1e15 < value < 1e15 else None


def _time(value: Any) -> float | None:
    """Seconds since 1970; some files have thousandths, or less."""
    number = _number(value)
    while number is not None and number > 1e11:
        number /= 1000
    return None if number is None or number <= 0 else float(number)
