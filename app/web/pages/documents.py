"""The text of a document, with the passages marked that an answer's model was given of it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.answer_state import MessageRef
from app.conversations.document_search import DocumentSearch
from app.db.folder_documents import FolderDocument
from app.db.passages import StoredPassage
from app.documents.kinds import count_pages, unit_of
from app.documents.sources import SourceFile, SourcePassage, Sources, decode_sources
from app.errors import AttachmentNotFound
from app.web.addresses import row_id
from app.web.context import services_of
from app.web.pages.chat import get_chat_or_404
from app.web.render.frame import render_page
from app.web.security.identity import current_user

SHOWN: Final = 150
"""Passages of a document on one page."""
ABOVE: Final = 40
"""Of these, so many stand before the one that is sought."""
blueprint = Blueprint(
    "documents", __name__, url_prefix="/chats/<chat_id>/messages/<int:message_id>/sources"
)


@dataclass(frozen=True, slots=True)
class Section:
    """Passages of one page of a document."""

    page: int
    passages: Sequence[StoredPassage | SourcePassage]


@blueprint.get("/<int:number>")
async def source(chat_id: str, message_id: int, number: int) -> Response:
    """Show a document of an answer: the one that was searched, while it is there."""
    user_id = current_user()
    await get_chat_or_404(chat_id)
    answer = await services_of(chat_id).branches.get(MessageRef(user_id, chat_id, message_id))
    sources = decode_sources(answer.sources)
    if sources is None or number >= len(sources.files):
        raise AttachmentNotFound("There is no such document.")
    back = f"/chats/{chat_id}?message={message_id}#m{message_id}"
    search = services_of(chat_id).document_search
    found = await _find(search, user_id, chat_id, sources.files[number])
    if found is None:
        return await _left(sources, number, back)
    marked = {passage.number for passage in sources.of(number)}
    address = f"/chats/{chat_id}/messages/{message_id}/sources/{number}"
    return await document_page(search, found, marked, address, back, "Back to the chat")


async def _find(
    search: DocumentSearch, user_id: int, chat_id: str, file: SourceFile
) -> FolderDocument | None:
    """Find a file that was searched: by its bytes, else by its name, which an import keeps."""
    found = await search.usable(user_id, chat_id)
    same = [one for one in found if one.file.digest == file.digest]
    same += [one for one in found if one.file.name == file.name and one.file.pages == file.pages]
    return same[0] if same else None


async def _left(sources: Sources, number: int, back: str) -> Response:
    """Show the passages that were given of a document that is gone."""
    given, file = sources.of(number), sources.files[number]
    return await render_page(
        "document.html",
        name=file.name,
        pages="",
        unit=file.unit.capitalize(),
        sections=_sections(given),
        marked={passage.number for passage in given},
        gone=True,
        before=None,
        after=None,
        address="",
        back=back,
        back_label="Back to the chat",
    )


async def document_page(
    search: DocumentSearch,
    document: FolderDocument,
    marked: Set[int],
    address: str,
    back: str,
    back_label: str,
) -> Response:
    """Show the part of a document around `?at=`."""
    (one,) = await search.prepared([document])
    total = one.document.passages or 0
    at = request.args.get("at", 0, type=row_id) or 0
    first = max(0, min(at - ABOVE, total - SHOWN))
    shown = await search.passages(one, range(first, min(total, first + SHOWN)))
    file = document.file
    return await render_page(
        "document.html",
        name=file.name,
        pages=count_pages(file.pages, file.media_type) if file.pages else "",
        unit=unit_of(file.media_type),
        sections=_sections(shown),
        marked=marked,
        gone=False,
        before=max(0, first - SHOWN + ABOVE) if first else None,
        after=first + SHOWN + ABOVE if first + SHOWN < total else None,
        address=address,
        back=back,
        back_label=back_label,
    )


def _sections(passages: Sequence[StoredPassage | SourcePassage]) -> list[Section]:
    groups = groupby(passages, key=lambda one: one.page)
    return [Section(page, [*some]) for page, some in groups]
