"""Files of a chat as a model is given them: whole, or passages of those that do not fit.

A file that is given whole stands in its message. Of one that is searched only a line stands there,
and passages stand before each question: so a question that follows finds all that was given before
at the beginning of its prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from app.conversations.attachments import with_files
from app.conversations.document_search import DocumentSearch, Searchable, scope_of
from app.conversations.passages import Passages
from app.conversations.settings import system_turns
from app.db import attachments, messages, passages
from app.db.attachments import Attachment
from app.db.connection import Database
from app.db.folder_documents import FolderDocument
from app.db.messages import Message
from app.db.passages import StoredPassage
from app.documents.kinds import unit_of
from app.documents.sources import (
    SourceFile,
    SourcePassage,
    Sources,
    decode_sources,
    encode_sources,
)
from app.inference.context_window import answer_reserve
from app.models.model import Turn
from app.models.parameters import GenerationSettings
from app.models.text.token_count import estimate_tokens

WHOLE_SHARE: Final = 0.95
"""Of the window, for files that are given whole."""
ESTIMATED_SHARE: Final = 0.85
"""The same where the tokens of one are an estimate."""
BESIDE_SHARE: Final = 0.4
"""Of the window, for files that are given whole beside those that are searched."""
FOLDER_SHARE: Final = 0.4
"""Of the window, for a folder's documents; where they are longer, all of them are searched."""
PASSAGES_SHARE: Final = 0.5
"""Of what is left of the window, for passages."""
MAX_PASSAGES_TOKENS: Final = 6000
MAX_PASSAGES: Final = 24
_MARGIN: Final = 8
"""Tokens that the line above a passage takes."""


@dataclass(frozen=True, slots=True)
class DocumentFit:
    """Texts that models are given instead of files. lines: of searched files, by their ids; before:
    passages before questions, by ids of messages; folder: the documents of the chat's folder, for
    the system prompt; sources: what the new answer is given."""

    lines: Mapping[int, str] = field(default_factory=dict)
    before: Mapping[int, str] = field(default_factory=dict)
    folder: str = ""
    sources: Sources | None = None

    def with_folder(self, system: Sequence[Turn]) -> tuple[Turn, ...]:
        """System turns with the folder's documents: every chat of it begins with the same. Marked
        as one that has documents, of which other users share no state."""
        if not self.folder:
            return tuple(system)
        parts = [turn.content for turn in system] + [self.folder]
        return (Turn("system", "\n\n".join(parts), stays=True),)


class DocumentFitter:
    """Decides which files of a chat are given whole, and searches the others."""

    def __init__(self, db: Database, search: DocumentSearch, index: Passages) -> None:
        self._db = db
        self._search = search
        self._index = index

    async def fit(
        self, user_id: int, path: Sequence[Message], made_with: GenerationSettings
    ) -> DocumentFit:
        """Fit the files of a path, whose last message is the answer, into the model's window, and
        keep with the answer what it is given instead."""
        answer, size = path[-1], made_with.context_length
        owned = [FolderDocument(f, user_id, "") for m in path[:-1] for f in m.attachments]
        own = [one for one in owned if not one.file.is_media]
        shared = await self._search.in_folder_of(user_id, answer.chat_id)
        if not own and not shared:
            return DocumentFit()
        if not size:
            return DocumentFit(folder=await self._folder(shared))
        limit = size - answer_reserve(made_with.max_tokens, size)
        limit -= sum(estimate_tokens(turn.content) for turn in system_turns(made_with))
        fit = await self._fit(path, own, shared, limit)
        sources = encode_sources(fit.sources)
        if sources != answer.sources:
            await self._db.write(lambda c: messages.set_sources(c, user_id, answer.id, sources))
        return fit

    async def _fit(
        self,
        path: Sequence[Message],
        own: Sequence[FolderDocument],
        shared: Sequence[FolderDocument],
        limit: int,
    ) -> DocumentFit:
        question = next(m for m in reversed(path[:-1]) if m.role == "user")
        if sum(one.file.tokens for one in shared) > limit * FOLDER_SHARE:
            whole_shared, searched = list[FolderDocument](), [*shared]
        else:
            whole_shared, searched = [*shared], []
        limit -= sum(one.file.tokens for one in whole_shared) + estimate_tokens(question.text)
        chosen = {file.id for file in choose_searched([one.file for one in own], path, limit)}
        limit -= sum(one.file.tokens for one in own if one.file.id not in chosen)
        lines = {one.file.id: searched_line(one.file) for one in own if one.file.id in chosen}
        files = await self._search.prepared(
            [*(one for one in own if one.file.id in chosen), *searched]
        )
        folder = await self._folder(whole_shared)
        if not files:
            return DocumentFit(folder=folder)
        sources = decode_sources(path[-1].sources) if path[-1].text else None
        if sources is None:
            budget = min(MAX_PASSAGES_TOKENS, int(limit * PASSAGES_SHARE))
            sources = await self._find(path, question, files, set(lines), budget)
        before = _passages_before(path, {one.file.digest for one in files}, sources)
        return DocumentFit(lines, before, folder, sources)

    async def _folder(self, files: Sequence[FolderDocument]) -> str:
        """Write the documents of a folder whole."""
        blocks = list[str]()
        for one in files:
            texts = await attachments.texts(self._db, one.user_id, [one.file.id])
            blocks.append(with_files("", [one.file], texts))
        return "\n\n".join(blocks)

    async def _find(
        self,
        path: Sequence[Message],
        question: Message,
        files: Sequence[Searchable],
        own: Set[int],
        budget: int,
    ) -> Sources:
        """Choose passages for a question, in the order of the files. own: ids of those that are
        files of messages."""
        by_document = dict[int, Searchable]()
        for one in files:
            by_document.setdefault(one.document.id, one)
        earlier = _question_before(path, question)
        scope = scope_of([*by_document.values()])
        ranked = await self._index.search(scope, question.text, MAX_PASSAGES, earlier)
        if not ranked and (question.attachments or len(question.text.split()) > 1):
            some = [one for one in by_document.values() if one.file.id in own]
            ranked = await self._from_all_over(some)
        chosen = _within(ranked, by_document, budget)
        places = {document: place for place, document in enumerate(by_document)}
        chosen.sort(key=lambda one: (places[one.document_id], one.number))
        return Sources(
            tuple(_source(one) for one in by_document.values()),
            tuple(SourcePassage(places[p.document_id], p.number, p.page, p.text) for p in chosen),
        )

    async def _from_all_over(self, files: Sequence[Searchable]) -> list[StoredPassage]:
        """Passages from the beginning to the end of each file, for a question about all of it."""
        found = list[StoredPassage]()
        for one in files:
            share, count = max(2, MAX_PASSAGES // len(files)), one.document.passages or 0
            numbers = {number * count // share for number in range(share)}
            found += await passages.of_document(self._db, one.user_id, one.document.id, numbers)
        return sorted(found, key=lambda one: one.number)  # where not all fit, beginnings do


def _within(
    ranked: Sequence[StoredPassage], by_document: Mapping[int, Searchable], budget: int
) -> list[StoredPassage]:
    """The best passages that fit, neither too many nor too long."""
    chosen = list[StoredPassage]()
    for passage in ranked[:MAX_PASSAGES]:
        tokens = _tokens(passage, by_document[passage.document_id])
        if tokens <= budget:
            chosen.append(passage)
            budget -= tokens
    return chosen


def choose_searched(
    files: Sequence[Attachment], path: Sequence[Message], room: int
) -> list[Attachment]:
    """Choose the files that do not fit whole, the largest ones first.

    One that was searched before stays so, unless all fit easily: what a prompt begins with is to
    stay the same.
    """
    total = sum(file.tokens for file in files)
    before = {
        file.digest
        for message in path
        for file in (decode_sources(message.sources) or Sources()).files
    }
    has_searched = any(file.digest in before for file in files)
    share = WHOLE_SHARE if all(file.counted_by for file in files) else ESTIMATED_SHARE
    if total <= room * (BESIDE_SHARE if has_searched else share):
        return []
    chosen, left = set[int](), total
    for file in sorted(files, key=lambda one: (one.digest not in before, -one.tokens)):
        if left <= room * BESIDE_SHARE and file.digest not in before:
            break
        chosen.add(file.id)
        left -= file.tokens
    return [file for file in files if file.id in chosen]


def _question_before(path: Sequence[Message], question: Message) -> str:
    earlier = [m.text for m in path if m.role == "user" and m.id < question.id and m.text]
    return earlier[-1] if earlier else ""


def _tokens(passage: StoredPassage, one: Searchable) -> int:
    """Tokens of a passage, by what its file's text was counted to."""
    file, estimate = one.file, one.document.tokens
    factor = file.tokens / estimate if file.counted_by and estimate else 1.0
    return round(passage.tokens * max(0.5, factor)) + _MARGIN


def _source(one: Searchable) -> SourceFile:
    file = one.file
    unit = unit_of(file.media_type).lower()
    return SourceFile(file.name, file.digest, file.pages, one.document.passages or 0, unit)


def _passages_before(
    path: Sequence[Message], searched: set[str], newest: Sources
) -> dict[int, str]:
    """Write the passages that answers were given, by the ids of their questions."""
    found = {}
    for message in path:
        sources = newest if message is path[-1] else decode_sources(message.sources)
        if sources is not None and message.parent_id is not None:
            text = passages_block(sources.only(searched))
            if text:
                found[message.parent_id] = text
    return found


def searched_line(file: Attachment) -> str:
    """The line that stands for a file in its message."""
    unit = unit_of(file.media_type).lower()
    pages = f" It has {file.pages:,} {unit}{'' if file.pages == 1 else 's'}." if file.pages else ""
    return (
        f"[File {file.name}: too long to be shown whole.{pages} Passages of it that may answer a"
        " question stand before that question.]"
    )


def passages_block(sources: Sources) -> str:
    """Passages as a model reads them: each with its file and page; neighbours are joined."""
    blocks = list[tuple[SourcePassage, str]]()
    for passage in sources.passages:
        last = blocks[-1][0] if blocks else None
        if last and (last.file, last.page, last.number + 1) == (
            passage.file,
            passage.page,
            passage.number,
        ):
            blocks[-1] = (passage, blocks[-1][1] + passage.text)
        else:
            blocks.append((passage, passage.text))
    if not blocks:
        return ""
    texts = []
    for passage, text in blocks:
        file = sources.files[passage.file]
        page = f", {file.unit} {passage.page}" if passage.page else ""
        texts.append(f"[From {file.name}{page}]\n{text.strip()}")
    return "\n\n".join(texts)
