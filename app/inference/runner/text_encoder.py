"""Encodes texts for models that are made for embeddings or reranking: no template, no answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from app.errors import PromptRefused, PromptTooLong
from app.inference.context_window import FittedPrompt, fit_exact
from app.inference.protocol import Generate
from app.inference.runner.engines.llama_batches import EmbeddingMarks
from app.models.text.tokenizer import CHUNK_CHARS, Tokenizer

_FIELD: Final = re.compile(r"\{(query|document)\}")
"""Places of the two texts in a template for reranking."""


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Encoder of one model. Any thread may use it.

    marks: what stands around texts; context_length: of the model, in tokens; template: how a
    reranker wants a query and a document, empty where only marks are between them. permit: held
    while a long text is tokenized.
    """

    tokenizer: Tokenizer
    marks: EmbeddingMarks
    context_length: int
    template: str = ""
    permit: Callable[[], AbstractContextManager[object]] = nullcontext

    def build(self, request: Generate) -> FittedPrompt:
        """Build the tokens of a text, or of a query and a document. Raises PromptTooLong or
        PromptRefused."""
        if not request.wants_embedding:
            raise PromptRefused("This model makes no texts: it was made for search.")
        limit = min(self.context_length, request.context or self.context_length)
        try:
            fitted = fit_exact(lambda: self._encode(request, limit), limit)
        except PromptTooLong as error:
            error.context_length = limit
            raise
        return FittedPrompt(fitted.tokens or [self._some_token()], 0, window=limit)

    def _encode(self, request: Generate, limit: int) -> list[int]:
        if request.before:
            return self._given(request, limit)
        text = request.text or ""
        around = self._pair(request.query, limit) if request.query is not None else self._single()
        before, behind = around
        room = max(0, limit - len(before) - len(behind))
        if not request.allow_truncation:
            return [*before, *self._plain(text, limit), *behind]
        beginning = self._plain(self.tokenizer.beginning(text, room), None)
        return [*before, *beginning[:room], *behind]

    def _given(self, request: Generate, limit: int) -> list[int]:
        size = self.tokenizer.vocab_size
        if (wrong := next((i for i in request.before if not 0 <= i < size), None)) is not None:
            raise PromptRefused(
                f"The input has the token id {wrong}; those of this model are 0 to {size - 1}."
            )
        return list(request.before[:limit] if request.allow_truncation else request.before)

    def _single(self) -> tuple[Sequence[int], Sequence[int]]:
        return self.marks.before, self.marks.behind

    def _pair(self, query: str, limit: int) -> tuple[Sequence[int], Sequence[int]]:
        """Encode what stands before and behind a document."""
        if not self.template:
            start = [*self.marks.before, *self._plain(query, limit), *self.marks.between]
            return start, self.marks.behind
        head, _, tail = self.template.partition("{document}")
        return self._filled(head, query, limit), self._filled(tail, query, limit)

    def _filled(self, template: str, query: str, limit: int) -> list[int]:
        """Encode a part of the template. No text becomes a special token, whatever it says."""
        ids: list[int] = []
        for part in self.tokenizer.split_special_tokens(template):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._plain(_FIELD.sub(lambda _: query, part), limit)
        return ids

    def _plain(self, text: str, limit: int | None) -> list[int]:
        """Raises TooManyTokens for a text that has more than `limit` for certain."""
        with self.permit() if len(text) > CHUNK_CHARS else nullcontext():
            if limit is not None:
                self.tokenizer.check_length(text, limit)
            return self.tokenizer.encode(text)

    def _some_token(self) -> int:
        """Return a token for a text that has none, of which a model makes nothing."""
        eos = self.tokenizer.eos_id
        return eos if eos is not None else 0
