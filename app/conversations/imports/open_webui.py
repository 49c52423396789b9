"""Reads a chat of Open WebUI's export, with the tree of its messages or only a list of them."""

from __future__ import annotations

import re
from typing import Any

from app.conversations.imports.chat import ImportedConversation, ImportedMessage
from app.conversations.imports.values import (
    PICTURE,
    Json,
    dict_in,
    dicts_in,
    key_in,
    list_in,
    text_in,
    time_in,
)
from app.models.parameters import SETTINGS

# What the page folds away: thoughts, each line of them quoted already, and calls of tools.
_FOLDED = re.compile(r'<details type="[^<>]*>\s*<summary>([^<]*)</summary>')


def parse(entry: Json) -> ImportedConversation:
    chat = dict_in(entry["chat"]) if isinstance(entry.get("chat"), dict) else entry
    history, extra = dict_in(chat.get("history")), dict_in(entry.get("meta"))
    models, params = list_in(chat.get("models")), dict_in(chat.get("params"))
    tree = dict_in(history.get("messages"))
    nodes = [_node(key, item) for key, item in tree.items() if isinstance(item, dict)]
    return ImportedConversation(
        key=f"openwebui:{text_in(entry.get('id')) or text_in(chat.get('id'))}",
        title=text_in(entry.get("title")) or text_in(chat.get("title")),
        model=text_in(models[0]) if models else "",
        created_at=time_in(entry.get("created_at")) or time_in(chat.get("timestamp")),
        updated_at=time_in(entry.get("updated_at")),
        nodes=nodes or _listed(chat.get("messages")),
        current=text_in(history.get("currentId")) or None,
        is_archived=entry.get("archived") is True,
        is_pinned=entry.get("pinned") is True or extra.get("pinned") is True,
        settings=_settings(params) | {"system_prompt": params.get("system")},
    )


def _settings(params: Json) -> Json:
    """Read settings: Open WebUI calls some as OpenAI does, and some as Ollama."""
    found: Json = {}
    for name, row in SETTINGS.items():
        wires = (row.wire("ollama"), row.wire("openai"))
        names = [name, *(wire.name for wire in wires if wire is not None)]
        found[name] = next((params[n] for n in names if params.get(n) is not None), None)
    return found


def _node(key: str, item: Json) -> ImportedMessage:
    text, role = _text(item.get("content")), text_in(item.get("role"))
    return ImportedMessage(
        key=key,
        parent=key_in(item.get("parentId")),
        role=role,
        text=text,
        at=time_in(item.get("timestamp")),
        model=text_in(item.get("model")) or None,
        is_omitted=bool(item.get("files")) and not text.strip(),
    )


def _listed(messages: Any) -> list[ImportedMessage]:
    """Messages without a tree follow each other as they stand."""
    nodes: list[ImportedMessage] = []
    for place, item in enumerate(dicts_in(messages)):
        node = _node(f"{place}", item)
        node.parent = nodes[-1].key if nodes else None
        nodes.append(node)
    return nodes


def _text(content: Any) -> str:
    if isinstance(content, list):
        pieces = (
            PICTURE if part.get("type") == "image_url" else text_in(part.get("text"))
            for part in dicts_in(content)
        )
        return "\n\n".join(piece for piece in pieces if piece)
    text, count = _FOLDED.subn(r"*\1*\n", text_in(content))
    return text.replace("</details>\n", "\n", count)
