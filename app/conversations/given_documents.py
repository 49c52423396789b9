"""Documents on the path of a chat: what a model is given of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

from app.conversations.history import first_in_context, without_failed
from app.db.attachments import Attachment
from app.db.messages import Message
from app.documents.given import GivenDocument
from app.documents.kinds import unit_of
from app.documents.progress import PageProgress, ReadDocument

MAX_GIVEN: Final = 100


def whole_documents(
    path: Sequence[Message], dropped: int, searched: Set[int], *, lost_documents: bool
) -> tuple[GivenDocument, ...]:
    """List the documents of a path that a model reads whole. dropped, lost_documents: as in
    `Prefill`; searched: ids of files that it is given passages of."""
    seen, top = without_failed(path), first_in_context(path, dropped)
    if lost_documents:
        at = next((place for place, message in enumerate(seen) if message.id == top), 0)
        seen = seen[at:]
    files = [file for message in seen for file in message.attachments]
    found = [file for file in files if file.is_document and file.id not in searched]
    return tuple(_given(file) for file in found[:MAX_GIVEN])


def _given(file: Attachment) -> GivenDocument:
    return GivenDocument(file.name, file.pages, file.pages, unit_of(file.media_type))


def page_progress(
    path: Sequence[Message], contents: Sequence[str], texts: Mapping[int, str]
) -> PageProgress | None:
    """Follow a model through the documents of a path; None where there are none."""
    found = [
        ReadDocument(file.name, file.pages, texts[file.id])
        for message in path
        for file in message.attachments
        if file.is_document and file.id in texts
    ]
    return PageProgress(contents, found) if found else None
