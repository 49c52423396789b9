"""Reads chats of the exports of ChatGPT and of Open WebUI."""

from __future__ import annotations

import json
import re
from typing import Any

from app.conversations.imports.chat import (
    PICTURE,
    ImportedConversation,
    ImportedMessage,
    Json,
    dict_in,
    dicts_in,
    fenced,
    key_in,
    list_in,
    quoted,
    text_in,
    time_in,
)
from app.models.parameters import SETTINGS

# Signs in ChatGPT's texts, where its page shows a source.
_CITATION = re.compile("\ue200[^\ue200\ue201]*\ue201")
_LANGUAGE = re.compile(r"[\w+#.-]{1,20}")


def parse_chatgpt(entry: Json) -> ImportedConversation:
    nodes = [
        _chatgpt_node(key, dict_in(item)) for key, item in dict_in(entry.get("mapping")).items()
    ]
    slugs = [node.model for node in nodes if node.model]
    return ImportedConversation(
        key=f"chatgpt:{text_in(entry.get('conversation_id')) or text_in(entry.get('id'))}",
        title=text_in(entry.get("title")),
        model=text_in(entry.get("default_model_slug")) or (slugs[-1] if slugs else ""),
        created_at=time_in(entry.get("create_time")),
        updated_at=time_in(entry.get("update_time")),
        nodes=_joined(nodes),
        current=text_in(entry.get("current_node")) or None,
        is_archived=entry.get("is_archived") is True,
    )


def _chatgpt_node(key: str, item: Json) -> ImportedMessage:
    message = dict_in(item.get("message"))
    extra, author = dict_in(message.get("metadata")), dict_in(message.get("author"))
    role = text_in(author.get("role"))
    is_hidden = extra.get("is_visually_hidden_from_conversation") is True
    text = "" if is_hidden or role not in {"user", "assistant", "tool"} else _text_of(message, role)
    return ImportedMessage(
        key=key,
        parent=key_in(item.get("parent")),
        role="assistant" if role == "tool" else role,
        text=text,
        at=time_in(message.get("create_time")),
        model=text_in(extra.get("model_slug")) or None,
        is_omitted=not text and not is_hidden and role != "system" and _has_content(message),
        is_work=role == "tool" or (role == "assistant" and _recipient(message) != "all"),
    )


def _has_content(message: Json) -> bool:
    content = dict_in(message.get("content"))
    values = [content[name] for name in content if name not in {"content_type", "language"}]
    return any(any(value) if isinstance(value, list) else bool(value) for value in values)


def _recipient(message: Json) -> str:
    return text_in(message.get("recipient")) or "all"


def _text_of(message: Json, role: str) -> str:
    text = _chatgpt_content(dict_in(message.get("content")))
    if role == "tool" and text:
        name = text_in(dict_in(message.get("author")).get("name")) or "a tool"
        is_shown = text.startswith(("```", "[not in the export", "> "))
        return f"*Result of {name}*\n\n{text if is_shown else fenced(text)}"
    if role == "assistant" and text and (recipient := _recipient(message)) != "all":
        return _call(recipient, text)
    return text


def _call(recipient: str, text: str) -> str:
    """Read what an assistant wrote to a tool; a document on the canvas as it is."""
    if recipient.startswith("canmore"):
        try:
            document = dict_in(json.loads(text))
        except (ValueError, RecursionError):
            document = {}
        if content := text_in(document.get("content")):
            kind = text_in(document.get("type")).partition("/")[2]
            title = text_in(document.get("name")) or "Document"
            return f"**{title}**\n\n{fenced(content, _language(kind)) if kind else content}"
    return f"*To {recipient}*\n\n{text if text.startswith('```') else fenced(text)}"


def _chatgpt_content(content: Json) -> str:
    """Read what a user sees; pictures and files are not in the export."""
    kind = text_in(content.get("content_type"))
    if kind == "code":
        code = text_in(content.get("text"))
        return fenced(code, _language(text_in(content.get("language")))) if code.strip() else ""
    if kind == "execution_output":
        output = text_in(content.get("text"))
        return fenced(output) if output.strip() else ""
    if kind == "thoughts":
        return "\n\n".join(_thought(thought) for thought in dicts_in(content.get("thoughts")))
    if kind == "reasoning_recap":
        recap = text_in(content.get("content")).strip()
        return f"*{recap}*" if recap else ""
    if isinstance(content.get("parts"), list):
        return "\n\n".join(piece for part in list_in(content["parts"]) if (piece := _part(part)))
    texts = (text_in(content.get(name)) for name in ("text", "result", "content"))
    return _CITATION.sub("", next((text for text in texts if text.strip()), ""))


def _thought(thought: Json) -> str:
    summary, content = text_in(thought.get("summary")), text_in(thought.get("content"))
    head = f"*{summary.strip()}*" if summary.strip() else ""
    return "\n\n".join(
        piece for piece in (head, quoted(content) if content.strip() else "") if piece
    )


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return _CITATION.sub("", text_in(part))
    if isinstance(part.get("text"), str):
        return text_in(part["text"])
    if "audio" in text_in(part.get("content_type")):  # of which the words are here as well
        return ""
    return PICTURE


def _language(name: str) -> str:
    return name if _LANGUAGE.fullmatch(name) and name != "unknown" else ""


def _joined(nodes: list[ImportedMessage]) -> list[ImportedMessage]:
    """Merge what an assistant did on the way into the message that follows it.

    That is how the page showed it: calls, results and the answer as one turn.
    """
    by_key = {node.key: node for node in nodes}
    children: dict[str | None, list[ImportedMessage]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    for node in nodes:
        if not _is_continued(node, children):
            continue
        steps = [node]
        while _is_continued(steps[-1], children):
            steps.append(children[steps[-1].key][0])
            if len(steps) > len(by_key):  # a circle
                return nodes
        _merge(steps)
    return nodes


def _is_continued(node: ImportedMessage, children: dict[str | None, list[ImportedMessage]]) -> bool:
    after = children.get(node.key, [])
    if len(after) != 1 or node.role != "assistant" or after[0].role != "assistant":
        return False
    return node.is_work or after[0].is_work


def _merge(steps: list[ImportedMessage]) -> None:
    """The last step says all; the others say nothing, and so are passed over."""
    last = steps[-1]
    last.text = "\n\n".join(step.text for step in steps if step.text)
    last.at = last.at or steps[0].at
    last.model = last.model or next((step.model for step in steps if step.model), None)
    for step in steps[:-1]:
        step.text = ""
        step.is_work = False
    last.is_work = False


# What Open WebUI folds away: thoughts, each line of them quoted already, and calls of tools.
_FOLDED = re.compile(r'<details type="[^<>]*>\s*<summary>([^<]*)</summary>')


def parse_open_webui(entry: Json) -> ImportedConversation:
    chat = dict_in(entry["chat"]) if isinstance(entry.get("chat"), dict) else entry
    history, extra = dict_in(chat.get("history")), dict_in(entry.get("meta"))
    models, params = list_in(chat.get("models")), dict_in(chat.get("params"))
    tree = dict_in(history.get("messages"))
    nodes = [_open_webui_node(key, item) for key, item in tree.items() if isinstance(item, dict)]
    return ImportedConversation(
        key=f"openwebui:{text_in(entry.get('id')) or text_in(chat.get('id'))}",
        title=text_in(entry.get("title")) or text_in(chat.get("title")),
        model=text_in(models[0]) if models else "",
        created_at=time_in(entry.get("created_at")) or time_in(chat.get("timestamp")),
        updated_at=time_in(entry.get("updated_at")),
        nodes=nodes or _open_webui_list(chat.get("messages")),
        current=text_in(history.get("currentId")) or None,
        is_archived=entry.get("archived") is True,
        is_pinned=entry.get("pinned") is True or extra.get("pinned") is True,
        settings=_open_webui_settings(params) | {"system_prompt": params.get("system")},
    )


def _open_webui_settings(params: Json) -> Json:
    """Read settings: Open WebUI calls some as OpenAI does, and some as Ollama."""
    found: Json = {}
    for name, row in SETTINGS.items():
        wires = (row.wire("ollama"), row.wire("openai"))
        names = [name, *(wire.name for wire in wires if wire is not None)]
        found[name] = next((params[n] for n in names if params.get(n) is not None), None)
    return found


def _open_webui_node(key: str, item: Json) -> ImportedMessage:
    text, role = _open_webui_text(item.get("content")), text_in(item.get("role"))
    return ImportedMessage(
        key=key,
        parent=key_in(item.get("parentId")),
        role=role,
        text=text,
        at=time_in(item.get("timestamp")),
        model=text_in(item.get("model")) or None,
        is_omitted=bool(item.get("files")) and not text.strip(),
    )


def _open_webui_list(messages: Any) -> list[ImportedMessage]:
    """Messages without a tree follow each other as they stand."""
    nodes: list[ImportedMessage] = []
    for place, item in enumerate(dicts_in(messages)):
        node = _open_webui_node(f"{place}", item)
        node.parent = nodes[-1].key if nodes else None
        nodes.append(node)
    return nodes


def _open_webui_text(content: Any) -> str:
    if isinstance(content, list):
        pieces = (
            PICTURE if part.get("type") == "image_url" else text_in(part.get("text"))
            for part in dicts_in(content)
        )
        return "\n\n".join(piece for piece in pieces if piece)
    text, count = _FOLDED.subn(r"*\1*\n", text_in(content))
    return text.replace("</details>\n", "\n", count)
