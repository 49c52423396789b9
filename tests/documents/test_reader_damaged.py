"""Damaged documents are read or refused; nothing dies but children. `fuzz.py` tries thousands."""

from __future__ import annotations

from tests.documents.fuzz import mutations, read_all

KNOWN = ("read", "is damaged", "is locked", "can't be read", "has ", "is not a document", "is of a")


async def test_damaged_files_are_documents_or_sentences() -> None:
    seen = await read_all(mutations(16, seed=3))
    assert seen.total() == 16
    assert [what for what in seen if not what.startswith(KNOWN)] == []
