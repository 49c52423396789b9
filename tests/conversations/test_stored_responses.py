"""What is kept of `/v1/responses`: for a while, so many of each user, and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.conversations import stored_responses
from app.conversations.stored_responses import KEPT_SECONDS, StoredResponses
from app.db.connection import Database, open_database
from app.db.responses import StoredResponse
from app.errors import ResponseNotFound

ANNA, BERT = 1, 2


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        await database.write(
            lambda c: c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'bert', 1)")
        )
        yield database


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def responses(db: Database, clock: Clock) -> StoredResponses:
    return StoredResponses(db, clock)


def response(name: str, clock: Clock, previous: str | None = None, size: int = 0) -> StoredResponse:
    return StoredResponse(name, previous, "[]", "x" * size, clock())


async def kept(responses: StoredResponses, user: int, *names: str) -> list[str]:
    found = []
    for name in names:
        try:
            found.append((await responses.get(user, name)).id)
        except ResponseNotFound:
            continue
    return found


async def test_only_its_user_finds_and_deletes_a_response(
    responses: StoredResponses, clock: Clock
) -> None:
    await responses.save(ANNA, response("a", clock))
    assert await kept(responses, BERT, "a") == []
    with pytest.raises(ResponseNotFound):
        await responses.remove(BERT, "a")
    await responses.save(BERT, response("b", clock, previous="a"))
    with pytest.raises(ResponseNotFound):
        await responses.chain(BERT, "b")
    await responses.remove(ANNA, "a")
    assert await kept(responses, ANNA, "a") == []


async def test_the_oldest_make_room(
    responses: StoredResponses, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_responses, "MAX_RESPONSES", 3)
    monkeypatch.setattr(stored_responses, "MAX_CHARACTERS", 100)
    await responses.save(BERT, response("other", clock))
    for name in "abcd":
        clock.now += 1
        await responses.save(ANNA, response(name, clock))
    assert await kept(responses, ANNA, *"abcd") == ["b", "c", "d"]
    clock.now += 1
    await responses.save(ANNA, response("large", clock, size=95))
    assert await kept(responses, ANNA, *"bcd", "large") == ["d", "large"]
    await responses.save(ANNA, response("larger", clock, size=500))
    assert await kept(responses, ANNA, "large", "larger") == ["larger"]
    assert await kept(responses, BERT, "other") == ["other"]


async def test_a_response_expires(db: Database, responses: StoredResponses, clock: Clock) -> None:
    await responses.save(ANNA, response("a", clock))
    clock.now += KEPT_SECONDS - 1
    await responses.save(ANNA, response("b", clock, previous="a"))
    assert [one.id for one in await responses.chain(ANNA, "b")] == ["a", "b"]
    clock.now += 1
    assert await kept(responses, ANNA, "a", "b") == ["b"]

    sweep = asyncio.create_task(responses.run())
    while await db.fetch_all("SELECT 1 FROM responses WHERE id = 'a'"):
        await asyncio.sleep(0)
    sweep.cancel()
    assert [row["id"] for row in await db.fetch_all("SELECT id FROM responses")] == ["b"]


async def test_a_chain_has_an_end(
    responses: StoredResponses, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_responses, "MAX_CHAIN", 3)
    monkeypatch.setattr(stored_responses, "MAX_CHAIN_CHARACTERS", 1000)
    previous = None
    for name in "abcd":
        await responses.save(ANNA, response(name, clock, previous))
        previous = name
    assert len(await responses.chain(ANNA, "c")) == 3
    with pytest.raises(ResponseNotFound, match="too many"):
        await responses.chain(ANNA, "d")
    await responses.save(ANNA, response("large", clock, size=2000))
    with pytest.raises(ResponseNotFound, match="too many"):
        await responses.chain(ANNA, "large")


async def test_responses_leave_with_their_user(
    db: Database, responses: StoredResponses, clock: Clock
) -> None:
    await responses.save(BERT, response("b", clock))
    await db.write(lambda c: c.execute("DELETE FROM users WHERE id = 2"))
    assert await db.fetch_all("SELECT id FROM responses") == []
