"""Passages are found by meaning where an embedding model is in the store, and by words alone where
there is none, or it is not there in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from quart import Quart

from app.conversations import passage_vectors
from app.conversations.passage_vectors import PassageVectors, fuse
from app.db.connection import Database
from app.models.model import Model
from app.models.store import ModelStore
from app.web.context import ServerContext
from tests.application import context_of, run_app
from tests.patience import PATIENCE
from tests.tiny_architectures import write_architecture

TEXTS = ("a b c", "x y z x y z", "q w e r t y", "a a b b c c")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    store = ModelStore(tmp_path / "models")
    store.install(write_architecture(tmp_path / "bert.gguf", "bert"), "bert")
    async with run_app(tmp_path, models_dir=store.root) as made:
        yield made


async def documents(context: ServerContext, user_id: int = 1) -> dict[int, str]:
    """Add a file of each text, cut into passages; return these by the ids of their documents."""
    found = dict[int, str]()
    for text in TEXTS:
        file = await context.attachments.add(user_id, f"{text[0]}.txt", text.encode())
        found[(await context.saved.passages.ensure(user_id, [file]))[file.id].id] = text
    return found


async def count(db: Database) -> int:
    row = await db.fetch_one("SELECT count(*) AS count FROM passage_vectors")
    assert row is not None
    return int(row["count"])


async def filled(context: ServerContext) -> None:
    """Wait until every passage has its vector."""
    async with asyncio.timeout(PATIENCE):
        while await count(context.chats._db) < len(TEXTS):
            await asyncio.sleep(0.05)


async def test_passages_get_vectors_in_the_background_and_go_with_them(app: Quart) -> None:
    context = context_of(app)
    texts, vectors = await documents(context), context.saved.vectors
    await filled(context)
    scope = {1: [*texts]}
    for number, text in texts.items():
        ranked = await vectors.rank(scope, text, 9, is_alone=False)
        found = await context.saved.passages.search(scope, text, 9)
        assert len(ranked) == len(TEXTS)
        assert found[0].document_id == number
    assert await vectors.rank(scope, "a b c", 9, is_alone=True) == []  # too few to stand out
    assert await vectors.rank({2: [*texts]}, "a b c", 9, is_alone=False) == []
    held = await context.chats._db.fetch_all("SELECT vector FROM passage_vectors")
    for row in held:
        assert np.linalg.norm(np.frombuffer(row["vector"], "<f2")) == pytest.approx(1, abs=0.01)
    assert (await context.storage.usage(1)).files > sum(map(len, held[0]))
    for file in await context.attachments.unsent_all(1):
        await context.attachments.remove(1, file.id)
    async with asyncio.timeout(PATIENCE):
        while await count(context.chats._db):
            await asyncio.sleep(0.05)


async def test_questions_and_passages_get_the_prefixes_of_their_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(tmp_path / "models")
    store.install(write_architecture(tmp_path / "bert.gguf", "bert"), "nomic-embed-text-v1.5")
    embed, texts = PassageVectors._embed, list[str]()

    async def noted(
        self: PassageVectors, model: Model, some: Sequence[tuple[int, str]], seconds: float
    ) -> list[tuple[float, ...]] | None:
        texts.extend(text for _, text in some)
        return await embed(self, model, some, seconds)

    monkeypatch.setattr(PassageVectors, "_embed", noted)
    async with run_app(tmp_path, models_dir=store.root) as app:
        context = context_of(app)
        found = await documents(context)
        await filled(context)
        await context.saved.vectors.rank({1: [*found]}, "a b c", 9, is_alone=False)
    assert texts[-1] == "search_query: a b c"
    assert {text.partition(": ")[0] for text in texts[:-1]} == {"search_document"}


async def test_a_question_never_waits_for_the_model(
    app: Quart, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(app)
    texts = await documents(context)
    await filled(context)
    monkeypatch.setattr(passage_vectors, "QUESTION_SECONDS", 0.0)
    assert await context.saved.vectors.rank({1: [*texts]}, "a b c", 9, is_alone=False) == []
    monkeypatch.undo()
    await context.pool.unload("bert")
    found = await context.saved.passages.search({1: [*texts]}, "q w e", 9)
    assert [texts[one.document_id] for one in found] == ["q w e r t y"]


def test_what_stands_high_in_both_rankings_comes_first() -> None:
    assert fuse(([1, 2, 3], []), 9) == [1, 2, 3]
    assert fuse(([1, 2, 3], [3, 4, 2]), 3) == [3, 2, 1]
    assert fuse(([], [5, 6]), 1) == [5]
