"""Passages of a user's documents: cut when a file comes, searched when it does not fit."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from app.background import BackgroundTasks
from app.conversations.passage_vectors import PassageVectors, fuse
from app.db import attachments, passages
from app.db.attachments import Attachment
from app.db.connection import Database
from app.db.passages import NewPassage, Scope, StoredDocument, StoredPassage, Term
from app.documents.passages import SPACELESS, cut_passages, grams_of
from app.errors import WickError
from app.models.text.token_count import estimate_tokens

log = logging.getLogger(__name__)
SWEEP_SECONDS: Final = 5.0
MAX_QUERY_CHARS: Final = 4000
MAX_TERMS: Final = 40
SHORT_QUESTION_WORDS: Final = 4
"""A question with fewer words is searched for with those of the question before it."""
_EARLIER, _BEGINNING = 0.4, 0.5
"""How much words of the question before count, and beginnings of words."""
_BEGINNING_OF: Final = 0.55
MIN_BEGINNING_CHARS: Final = 4
_WORD: Final = re.compile(r"\w+")


class Passages:
    """Cuts texts of files into passages, and finds them. vectors: of an embedding model, if any."""

    def __init__(self, db: Database, vectors: PassageVectors | None = None) -> None:
        self._db = db
        self._vectors = vectors
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.tasks = BackgroundTasks()

    def prepare(self, user_id: int, files: Sequence[Attachment]) -> None:
        """Cut files that have come, while nobody waits for that."""
        some = [file for file in files if not file.is_media]
        if some:
            self.tasks.spawn(self._prepare(user_id, some), "passages")

    async def _prepare(self, user_id: int, files: Sequence[Attachment]) -> None:
        try:
            await self.ensure(user_id, files)
        except WickError as error:
            log.warning("A file is not cut into passages yet: %s", error)

    async def ensure(self, user_id: int, files: Sequence[Attachment]) -> dict[int, StoredDocument]:
        """Return the documents of these files, which are cut now where they were not."""
        return await self.tasks.run_shielded(self._ensure(user_id, files), "passages")

    async def _ensure(self, user_id: int, files: Sequence[Attachment]) -> dict[int, StoredDocument]:
        ids = [file.id for file in files]
        async with self._turns[user_id]:
            found = await passages.documents_of(self._db, user_id, ids)
            for one in ids:
                if one not in found:
                    await self._cut(user_id, one)
        return await passages.documents_of(self._db, user_id, ids)

    async def _cut(self, user_id: int, attachment_id: int) -> None:
        """Cut a file into passages, and write them a few at a time."""
        texts = await attachments.texts(self._db, user_id, [attachment_id])
        text = texts.get(attachment_id, "")
        digest = (await asyncio.to_thread(hashlib.sha256, text.encode())).hexdigest()
        document = await self._db.write(lambda c: passages.add_document(c, user_id, digest))
        if document.passages is None:
            some = await asyncio.to_thread(_cut_text, text)
            for at in range(0, len(some), passages.STEP_PASSAGES):
                batch = some[at : at + passages.STEP_PASSAGES]
                await self._db.write(
                    lambda c, b=batch: passages.add_passages(c, user_id, document.id, b)  # type: ignore[misc]
                )
            tokens = sum(passage.tokens for passage in some)
            await self._db.write(
                lambda c: passages.complete(c, user_id, document.id, len(some), tokens)
            )
        await self._db.write(lambda c: passages.link(c, user_id, attachment_id, document.id))
        if self._vectors is not None:
            self._vectors.wake()

    async def search(
        self, scope: Scope, query: str, limit: int, earlier: str = ""
    ) -> list[StoredPassage]:
        """Find the passages of these documents that fit a question best, the best first.

        earlier: the question before it, whose words count too where this one is short.
        """
        terms = search_terms(query, earlier)
        ranked = await passages.rank(self._db, scope, terms, limit)
        if self._vectors is not None:
            asked = query[:MAX_QUERY_CHARS]
            near = await self._vectors.rank(scope, asked, limit, is_alone=not ranked)
            ranked = fuse((ranked, near), limit)
        found = {p.id: p for p in await passages.of_scope(self._db, scope, ranked)}
        return [found[one] for one in ranked if one in found]

    async def run(self) -> None:
        """Delete the passages of documents that nobody has any more, until cancelled."""
        while True:
            try:
                while await passages.has_freed(self._db):
                    await self._db.write(passages.remove_some_freed)
            except WickError as error:
                log.warning("Passages were not deleted yet: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)


def _cut_text(text: str) -> list[NewPassage]:
    return [
        NewPassage(
            number,
            passage.page,
            passage.heading,
            passage.text,
            " ".join(grams_of(f"{passage.heading}\n{passage.text}")),
            estimate_tokens(passage.text),
        )
        for number, passage in enumerate(cut_passages(text))
    ]


def search_terms(query: str, earlier: str = "") -> list[Term]:
    """The words to search for: those of a question, beginnings of them, and, where it is short,
    words of the one before."""
    words = _weighed(query, 1.0)
    if earlier and sum(weight == 1.0 for weight in words.values()) < SHORT_QUESTION_WORDS:
        words = _weighed(earlier, _EARLIER) | words
    kept = sorted(words.items(), key=lambda item: -item[1])[:MAX_TERMS]
    return passages.terms_of(dict(kept))


def _weighed(text: str, weight: float) -> dict[str, float]:
    """Map words to how much they count. A word that ends in a star is the beginning of words."""
    text = text[:MAX_QUERY_CHARS].casefold()
    words = dict.fromkeys(grams_of(text), weight)
    for word in _WORD.findall(SPACELESS.sub(" ", text)):
        words[word] = weight
        beginning = word[: max(MIN_BEGINNING_CHARS, round(len(word) * _BEGINNING_OF))]
        if len(word) > len(beginning) and word.isalpha():
            words.setdefault(f"{beginning}*", weight * _BEGINNING)
    return words
