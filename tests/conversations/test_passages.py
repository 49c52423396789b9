"""Files that do not fit the window: searched by passages, which are kept with the answer."""

from __future__ import annotations

import time
from dataclasses import replace

from app.conversations.attachments import imported_text
from app.conversations.passages import Passages, search_terms
from app.db import attachments, passages
from app.documents.pages import join_pages, split_pages
from app.documents.sources import Sources, decode_sources
from app.inference.protocol import Delta, Generate
from tests.conversations.services import ScriptedServices, finished
from tests.patience import until

TOPICS = ["fox", "otter", "heron", "badger", "lynx", "stork", "viper", "beaver"]
FILLER = "The valley was quiet and wide, with meadows along a slow river that nobody named. " * 12


def long_text(pages: int = 40) -> str:
    """A page for each number; page 8n+1 has the fox, and so on."""
    return join_pages(
        f"# Chapter {n}\n\n{FILLER}\n\nThe {TOPICS[n % 8]} of house {n} ate {n * 3} pears."
        for n in range(pages)
    )


async def add_document(
    services: ScriptedServices, text: str, name: str = "book.pdf", user: int = 1
) -> int:
    pages = len(split_pages(text))
    file = imported_text(name, text, {"media_type": "application/pdf", "pages": pages, "note": ""})
    return await services.db.write(lambda c: attachments.add(c, user, file, time.time()))


async def ask(services: ScriptedServices, text: str, client: str, *files: int) -> Generate:
    prompt = replace(services.prompt(text, client), attachments=files)
    ref = await services.answers.submit(prompt)
    await until(lambda: any(c.id == ref.answer_id for c in services.runner.sent))
    found = next(c for c in services.runner.sent if c.id == ref.answer_id)
    assert isinstance(found, Generate)
    return found


async def answer(services: ScriptedServices, command: Generate) -> Sources | None:
    services.runner.say(Delta(command.id, "Pears."), finished(command.id))
    return decode_sources((await services.ended(command.id)).sources)


async def test_a_file_that_does_not_fit_is_searched_and_the_answer_keeps_what_was_found(
    services: ScriptedServices,
) -> None:
    file = await add_document(services, long_text())
    command = await ask(services, "What did the otter of house 17 eat?", "client01", file)
    content = command.turns[-1].content
    assert content.startswith("[File book.pdf: too long to be shown whole. It has 40 pages.")
    assert "[From book.pdf, page 18]" in content
    assert "The otter of house 17 ate 51 pears." in content
    assert content.endswith("What did the otter of house 17 eat?")
    assert len(content) < len(long_text()) / 3
    sources = await answer(services, command)
    assert sources is not None
    assert (sources.files[0].name, sources.files[0].pages) == ("book.pdf", 40)
    given = [passage.page for passage in sources.passages]
    assert 18 in given
    assert given == sorted(given)


async def test_what_was_given_before_begins_the_next_prompt(services: ScriptedServices) -> None:
    file = await add_document(services, long_text())
    first = await ask(services, "What did the otter of house 17 eat?", "client01", file)
    await answer(services, first)
    second = await ask(services, "And the badger of house 3?", "client02")
    assert second.turns[: len(first.turns)] == first.turns
    assert "The badger of house 3 ate 9 pears." in second.turns[-1].content


async def test_a_small_file_is_given_whole(services: ScriptedServices) -> None:
    file = await add_document(services, "[Page 1]\nShort.", "small.pdf")
    command = await ask(services, "What is it?", "client01", file)
    assert "Short." in command.turns[-1].content
    assert await answer(services, command) is None


async def test_a_question_about_all_of_it_gets_passages_from_all_over(
    services: ScriptedServices,
) -> None:
    file = await add_document(services, long_text())
    command = await ask(services, "Xyzzy?", "client01", file)
    sources = await answer(services, command)
    assert sources is not None
    assert sources.passages[0].page == 1


async def test_passages_go_with_the_last_file_that_has_them(services: ScriptedServices) -> None:
    index = Passages(services.db)
    text = long_text(3)
    ids = [await add_document(services, text) for _ in range(2)]
    files = [await services.attachments.get(1, one) for one in ids]
    documents = await index.ensure(1, files)
    assert len({document.id for document in documents.values()}) == 1
    count = "SELECT count(*) FROM passages"
    for gone, left in ((ids[0], True), (ids[1], False)):
        await services.attachments.remove(1, gone)
        while await passages.has_freed(services.db):
            await services.db.write(passages.remove_some_freed)
        row = await services.db.fetch_one(count)
        assert row is not None
        assert bool(row[0]) is left
    row = await services.db.fetch_one("SELECT count(*) FROM documents")
    assert row is not None
    assert row[0] == 0


async def test_nobody_finds_what_another_has(services: ScriptedServices) -> None:
    await services.db.write(
        lambda c: c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'other', 1)")
    )
    index = Passages(services.db)
    file = await add_document(services, long_text(3))
    documents = await index.ensure(1, [await services.attachments.get(1, file)])
    ids = [document.id for document in documents.values()]
    assert await index.search({1: ids}, "otter", 8)
    assert await index.search({2: ids}, "otter", 8) == []
    theirs = await add_document(services, long_text(3), user=2)
    mine = await services.attachments.get(2, theirs)
    assert (await index.ensure(2, [mine]))[theirs].id not in ids


def test_words_are_searched_with_their_beginnings_and_the_question_before() -> None:
    terms = {term.match: term.weight for term in search_terms("And deadlines?", "Who pays rent?")}
    assert terms['"deadlines"'] == 1.0
    assert terms['"deadl"*'] == 0.5
    assert 0 < terms['"rent"'] < 0.5
    assert {term.match for term in search_terms("年假有几天")} == {
        '"年假"', '"假有"', '"有几"', '"几天"'
    }  # fmt: skip
