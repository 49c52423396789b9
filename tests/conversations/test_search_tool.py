"""Searches that a model can call: its user's other chats and documents, and nobody else's."""

from __future__ import annotations

from pathlib import Path

from app.db import chats, messages
from app.tools.tool import ToolContext
from tests.application import context_of, run_app

CHAT, OTHER = "0123456789abcdef", "fedcba9876543210"


async def test_other_chats_are_found_and_documents_where_there_are_any(tmp_path: Path) -> None:
    async with run_app(tmp_path, titles="off") as app:
        context = context_of(app)

        async def add(connection, chat: str, text: str) -> None:  # type: ignore[no-untyped-def]
            await chats.create(connection, chat, 1, f"About {text}", "tiny", 1.0)
            await messages.add_user(connection, 1, chat, None, f"The {text} swims", chat, 1.0)

        await context.chats._db.write(lambda c: add(c, CHAT, "walrus here"))
        await context.chats._db.write(lambda c: add(c, OTHER, "walrus there"))
        here = ToolContext(1, CHAT)
        tools = context.toolbox
        found = await tools.call(here, "search_chats", {"words": "walrus"})
        assert "walrus there" in found.text
        assert "walrus here" not in found.text
        nobody = await tools.call(ToolContext(2, CHAT), "search_chats", {"words": "walrus"})
        assert nobody.text == "Nothing was found."
        assert (await tools.call(here, "search_chats", {"words": " "})).is_error
        documents = await tools.call(here, "search_documents", {"query": "walrus"})
        assert documents.text == "Nothing was found."
        time = await tools.call(here, "current_time", {"timezone": "Europe/Paris"})
        assert "UTC+" in time.text
        assert (await tools.call(here, "current_time", {"timezone": "../../etc"})).is_error
        assert (await tools.call(here, "rm", {})).is_error
