"""Questions whose page is known are answered by passages from it, by words alone."""

from __future__ import annotations

import sys
from pathlib import Path

from app.conversations.attachments import imported_text
from app.conversations.passages import Passages
from app.db import attachments
from app.db.connection import open_database
from app.documents.pages import join_pages
from tests.documents.retrieval_set import DOCUMENTS, QUESTIONS

AIM, AT = 0.9, 8
ABOUT = {"media_type": "application/pdf", "note": ""}


async def ranks(path: Path) -> list[int | None]:
    """The rank of the first passage from the right page, for each question, among all documents."""
    async with open_database(path) as db:
        index, names, ids = Passages(db), dict[int, str](), list[int]()
        for name, pages in DOCUMENTS.items():
            file = imported_text(name, join_pages(pages), ABOUT | {"pages": len(pages)})
            added = await db.write(lambda c, f=file: attachments.add(c, 1, f, 1.0))  # type: ignore[misc]
            stored = await attachments.get_many(db, 1, [added])
            document = (await index.ensure(1, stored))[added]
            names[document.id] = name
            ids.append(document.id)
        found = list[int | None]()
        for question, name, page in QUESTIONS:
            best = await index.search({1: ids}, question, AT)
            right = [(names[one.document_id], one.page) == (name, page) for one in best]
            found.append(right.index(True) + 1 if any(right) else None)
        return found


async def test_at_least_nine_of_ten_questions_find_their_page(tmp_path: Path) -> None:
    found = await ranks(tmp_path / "wick.db")
    hits, first = sum(rank is not None for rank in found), found.count(1)
    missed = [question[0] for question, rank in zip(QUESTIONS, found, strict=True) if rank is None]
    line = f"recall at {AT}: {hits / len(found):.3f}, right page first: {first / len(found):.3f}"
    print(f"{line}, of {len(found)} questions; missed: {missed}", file=sys.stderr)
    assert len(found) >= 40
    assert hits / len(found) >= AIM, missed
