"""One prompt to several models, over HTTP: with its files, in temporary chats, and only shown."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from quart.testing import QuartClient

from app.conversations.answer_state import MessageRef
from app.models.store import ModelStore
from tests.application import OWN, PAGE, context_of, run_app, text_of
from tests.patience import PATIENCE, until
from tests.tiny_gguf import write_tiny_gguf

SAVED, TEMPORARY = "0123456789abcdef", "t0123456789abcdef"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PROMPT = {"text": "Compare this", "client_id": "client01", "models": ["tiny", "other"]}


@pytest.mark.parametrize(
    ("chat", "uploads"), [(SAVED, "/attachments"), (TEMPORARY, "/attachments/temporary")]
)
async def test_all_models_get_the_question_with_its_file(
    tmp_path: Path, chat: str, uploads: str
) -> None:
    store = ModelStore(tmp_path / "models")
    for name in ("tiny", "other"):
        store.install(write_tiny_gguf(tmp_path / "tiny.gguf"), name)
    async with run_app(tmp_path, threads=1, max_tokens=3) as app:
        client, context = QuartClient(app), context_of(app)
        plain = PAGE | {"Content-Type": "text/plain"}
        chip = await text_of(
            await client.post(f"{uploads}?name=notes.md", headers=plain, data=b"rye flour")
        )
        found = re.search(r'data-attachment="(\d+)"', chip)
        assert found, chip
        body = urlencode(PROMPT | {"attachments": found[1]}, doseq=True)
        sent = await client.post(f"/chats/{chat}/compare", headers=PAGE | FORM, data=body)
        assert sent.status_code == 204, await text_of(sent)
        address = sent.headers["HX-Redirect"]
        await until(lambda: context.hub.stream_of_chat(chat) is None)

        page = await text_of(await client.get(address, headers=PAGE))
        assert "notes.md" in page
        assert page.count('data-role="assistant" data-status="done"') == 2
        prompt = MessageRef(1, chat, int(address.rsplit("/", 1)[1]))
        answers = await context.of(chat).branches.answers_to(prompt)
        first, second = (answer.prompt_tokens or 0 for answer in answers)
        assert first == second > len("rye flour") // 2

        # A copy of the question names its file.
        copied = await client.get(f"/chats/{chat}/messages/{prompt.message_id}/text", headers=PAGE)
        assert await text_of(copied) == "Attached: notes.md\n\nCompare this"

        # The page's socket only shows: no prompt is taken there.
        async with client.websocket(f"{address}/live", headers=OWN) as socket:
            await socket.send('{"text": "And more", "client_id": "client02"}')
            async with asyncio.timeout(PATIENCE):
                while "This page takes no messages." not in str(await socket.receive()):
                    pass
        assert context.hub.stream_of_chat(chat) is None

        used = await client.post(f"/chats/{chat}/messages/{answers[0].id}/use", headers=PAGE)
        assert used.headers["HX-Redirect"] == f"/chats/{chat}"
        with closing(sqlite3.connect(tmp_path / "wick.db")) as db:
            (count,) = db.execute("SELECT count(*) FROM messages").fetchone()
        assert count == (3 if chat == SAVED else 0)
