"""Documents over HTTP: those of folders, shared ones, and the text that an answer was given."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiosqlite
import pytest
from quart import Quart
from quart.datastructures import FileStorage

from app.db import attachments, chats, messages
from app.documents.pages import join_pages
from app.documents.sources import SourceFile, SourcePassage, Sources, encode_sources
from tests.application import BrowserClient, context_of, run_app, sign_in, text_of

CHAT = "0123456789abcdef"
ANNA = 1
PAGES = [f"Page about <b>topic</b> {n}.\n\nThe key of door {n} is blue." for n in range(1, 4)]
HTML = {"Accept": "text/html"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


async def add(browser: BrowserClient, folder: int, name: str, text: str) -> str:
    answer = await browser.ask(
        "POST",
        f"/folder-documents?folder={folder}",
        files={"file": FileStorage(BytesIO(text.encode()), name)},
    )
    assert answer.status_code == 200
    return await text_of(answer)


def number_of(html: str) -> int:
    found = re.search(r'data-document="(\d+)"', html)
    assert found, html
    return int(found[1])


async def test_documents_of_a_folder_are_added_replaced_read_and_removed(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    folder = (await context_of(app).folders.add(ANNA, "Work")).id
    first = await add(anna, folder, "a.txt", "The key is red.")
    again = await add(anna, folder, "a.txt", "The key is green.")
    assert again.count("data-document=") == 1
    number = number_of(again)
    assert number != number_of(first)
    page = await text_of(await anna.ask("GET", f"/folders/{folder}/documents/{number}"))
    assert "The key is green." in page
    assert "is a picture" in await add(anna, folder, "a.png", "\x89PNG\r\n\x1a\n")
    answer = await anna.ask("DELETE", f"/folders/{folder}/documents/{number}")
    assert "No documents yet" in await text_of(answer)


async def test_others_use_only_what_is_shared_and_change_nothing(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben", "member")
    context = context_of(app)
    row = await context.chats._db.fetch_one("SELECT id FROM users WHERE name = 'Ben'")
    assert row is not None
    his_id = row["id"]
    hers = (await context.folders.add(ANNA, "Manuals")).id
    his = (await context.folders.add(his_id, "Mine")).id
    number = number_of(await add(anna, hers, "a.txt", "The key of the shed is blue."))
    use = f"/folders/{his}/documents/use?source={hers}"
    assert (await ben.ask("POST", use, form={"used": "1"})).status_code == 404
    await anna.ask("POST", f"/folders/{hers}/documents/sharing", form={"shared": "1"})
    used = await text_of(await ben.ask("POST", use, form={"used": "1"}))
    assert "shared by Anna" in used
    document = f"/folders/{his}/documents/{number}"
    assert "The key of the shed" in await text_of(await ben.ask("GET", document))
    assert (await ben.ask("DELETE", document)).status_code == 404
    assert (await ben.ask("GET", f"/attachments/{number}")).status_code == 404

    async def make(c: aiosqlite.Connection) -> None:
        await chats.create(c, CHAT, his_id, "Keys", "tiny", 1.0)

    await context.chats._db.write(make)
    await context.folders.move(his_id, CHAT, his)
    search = context.saved.document_search
    found = await search.find(his_id, CHAT, "key of the shed")
    assert [one.text for one in found] == ["The key of the shed is blue."]
    assert await search.find(ANNA, CHAT, "key of the shed") == []
    await anna.ask("POST", f"/folders/{hers}/documents/sharing", form={})
    assert await search.find(his_id, CHAT, "key of the shed") == []
    assert (await ben.ask("GET", document)).status_code == 404


async def test_an_answer_shows_its_passages_and_opens_the_document_there(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    context = context_of(app)
    file = await context.attachments.add(ANNA, "a.txt", join_pages(PAGES).encode())
    sources = Sources(
        (SourceFile("a.txt", file.digest, 3, 3),),
        (SourcePassage(0, 1, 2, "The key of door 2 is blue."),),
    )
    now = time.time()

    async def make(c: aiosqlite.Connection) -> int:
        await chats.create(c, CHAT, ANNA, "Keys", "tiny", now)
        question = await messages.add_user(c, ANNA, CHAT, None, "Door 2?", "c", now)
        await attachments.attach(c, ANNA, [file.id], question)
        answer = await messages.add_answer(c, ANNA, CHAT, question, "tiny", now)
        await messages.set_sources(c, ANNA, answer, encode_sources(sources))
        await messages.finish(c, ANNA, answer, "done", "Blue.", now)
        await chats.advance(c, ANNA, CHAT, answer, "tiny", now)
        return answer

    answer = await context.chats._db.write(make)
    page = await text_of(await anna.ask("GET", f"/chats/{CHAT}", headers=HTML))
    assert "1 of 3 pages was given" in page
    link = re.search(r'href="([^"]*/sources/0\?at=1)#passage-1"', page)
    assert link, page
    document = await text_of(await anna.ask("GET", link[1]))
    assert '<mark id="passage-1" tabindex="-1">' in document
    assert "<b>topic" not in document
    assert "Page 3" in document
    ben = await sign_in(app, "Ben", "member")
    assert (await ben.ask("GET", link[1])).status_code == 404
    assert answer
