"""Saved prompts: names, blanks, and a library for each user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.conversations.saved_prompts import SavedPrompts, blanks_of, checked_name, fill
from app.db.connection import Database, open_database
from app.errors import InvalidEntry, LibraryEntryNotFound


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "wick.db") as database:
        yield database


def test_blanks_are_found_once_and_filled_everywhere() -> None:
    text = "To {{ name }} in {{language}}: hello {{name}}, {{not\none}} {{}} {x} {{{deep}}}"
    assert blanks_of(text) == ["name", "language", "deep"]
    filled = fill(text, {"name": "Ann {{language}}", "language": "German"})
    assert filled.startswith("To Ann {{language}} in German: hello Ann {{language}},")


def test_a_name_is_what_can_be_typed_after_a_slash() -> None:
    assert checked_name("/My Reply ") == "my-reply"
    assert checked_name("Grüße") == "grüße"
    for wrong in ("", " / ", "a/b", "a.b", "x" * 41):
        with pytest.raises(InvalidEntry):
            checked_name(wrong)


async def test_each_user_has_a_library_of_their_own(db: Database) -> None:
    library = SavedPrompts(db)
    await db.write(
        lambda c: c.execute("INSERT INTO users (id, name, created_at) VALUES (2, 'ben', 1)")
    )
    mine = await library.add(1, "reply", "Hello {{name}}")
    with pytest.raises(InvalidEntry, match="already"):
        await library.add(1, "Reply", "other")
    theirs = await library.add(2, "reply", "other")  # the same name is theirs to have
    for call in (
        library.get(2, mine.id),
        library.change(2, mine.id, "x", "x"),
        library.remove(2, mine.id),
    ):
        with pytest.raises(LibraryEntryNotFound):
            await call
    other = await library.add(1, "thanks", "Thank you")
    with pytest.raises(InvalidEntry, match="already"):
        await library.change(1, other.id, "reply", "Thank you")
    assert (await library.change(1, other.id, "ty", "Thanks")).text == "Thanks"
    assert [one.name for one in await library.all(1)] == ["reply", "ty"]
    await library.remove(1, mine.id)
    assert [one.id for one in await library.all(2)] == [theirs.id]
    await db.write(lambda c: c.execute("DELETE FROM users WHERE id = 2"))
    assert await library.all(2) == []
