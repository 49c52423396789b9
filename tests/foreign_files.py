"""Export files as ChatGPT and Open WebUI write them, small, with a branch each."""

from __future__ import annotations

from typing import Any


def _node(key: str, parent: str | None, message: Any, children: list[str]) -> dict[str, Any]:
    return {"id": key, "parent": parent, "message": message, "children": children}


def _said(role: str, content: Any, **metadata: Any) -> dict[str, Any]:
    return {
        "id": f"message of {role}",
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1700000001.5,
        "content": content,
        "status": "finished_successfully",
        "weight": 1.0,
        "recipient": "all",
        "metadata": metadata,
    }


def _words(*parts: Any) -> dict[str, Any]:
    return {"content_type": "text", "parts": list(parts)}


def chatgpt(title: str = "Foxes", text: str = "What is a fox?") -> list[dict[str, Any]]:
    """A hidden system node, a question, two answers (the first is shown), a tool between."""
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
    return [
        {
            "title": title,
            "create_time": 1700000000.0,
            "update_time": 1700000100.0,
            "mapping": {
                "client-created-root": _node("client-created-root", None, None, ["system"]),
                "system": _node(
                    "system",
                    "client-created-root",
                    _said("system", _words(""), is_visually_hidden_from_conversation=True),
                    ["ask"],
                ),
                "ask": _node("ask", "system", _said("user", _words(text)), ["tool", "second"]),
                "tool": _node("tool", "ask", _said("tool", _words("raw search")), ["first"]),
                "first": _node(
                    "first",
                    "tool",
                    _said("assistant", _words("An animal."), model_slug="gpt-4o"),
                    ["thanks"],
                ),
                "second": _node("second", "ask", _said("assistant", _words("A browser.")), []),
                "thanks": _node(
                    "thanks",
                    "first",
                    _said("user", {"content_type": "multimodal_text", "parts": [picture, "See?"]}),
                    [],
                ),
            },
            "moderation_results": [],
            "current_node": "thanks",
            "conversation_id": "6f0d2c1e-0000-4000-8000-000000000001",
            "default_model_slug": "gpt-4o",
            "is_archived": False,
        }
    ]


def open_webui(title: str = "Herons", text: str = "What is a heron?") -> list[dict[str, Any]]:
    """A question with two answers, of which the second is shown; archived and pinned."""
    messages = {
        "q": {
            "id": "q",
            "parentId": None,
            "childrenIds": ["a1", "a2"],
            "role": "user",
            "content": text,
            "timestamp": 1700000000,
            "models": ["llama3:8b"],
        },
        "a1": {
            "id": "a1",
            "parentId": "q",
            "childrenIds": [],
            "role": "assistant",
            "content": "A fish.",
            "model": "llama3:8b",
            "timestamp": 1700000001,
        },
        "a2": {
            "id": "a2",
            "parentId": "q",
            "childrenIds": [],
            "role": "assistant",
            "content": "A bird.",
            "model": "llama3:8b",
            "timestamp": 1700000002,
        },
    }
    return [
        {
            "id": "0a1b2c3d-0000-4000-8000-000000000002",
            "user_id": "someone",
            "title": title,
            "chat": {
                "id": "",
                "title": title,
                "models": ["llama3:8b"],
                "params": {},
                "history": {"messages": messages, "currentId": "a2"},
                "messages": [],
                "tags": [],
                "timestamp": 1700000000000,
            },
            "updated_at": 1700000002,
            "created_at": 1700000000,
            "share_id": None,
            "archived": True,
            "pinned": False,
            "meta": {},
        }
    ]
