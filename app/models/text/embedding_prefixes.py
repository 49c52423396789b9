"""Prefixes of texts for embedding models that tell a question from a passage, as their cards say.

A model is known by its names, since few files say it themselves. One that is not known gets texts
as they are.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from app.models.model import Model

_SENTENCE: Final = "Represent this sentence for searching relevant passages: "
_INSTRUCTION: Final = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)


@dataclass(frozen=True, slots=True)
class EmbeddingPrefixes:
    """Texts that stand before a question, and before a passage that may answer it."""

    question: str = ""
    passage: str = ""

    def key(self, digest: str) -> str:
        """Return a name for the vectors of passages: with another prefix they are others."""
        if not self.passage:
            return digest
        return hashlib.sha256(f"{digest}\n{self.passage}".encode()).hexdigest()


_GEMMA: Final = EmbeddingPrefixes("task: search result | query: ", "title: none | text: ")
_FAMILIES: Final = (
    (
        r"embedding-?gemma",
        EmbeddingPrefixes("task: search result | query: ", "title: none | text: "),
    ),
    (r"nomic-embed-text", EmbeddingPrefixes("search_query: ", "search_document: ")),
    (r"nomic-embed-code", EmbeddingPrefixes("Represent this query for searching relevant code: ")),
    (r"\be5-.*instruct", EmbeddingPrefixes(f"{_INSTRUCTION} ")),
    (r"\be5-(small|base|large)", EmbeddingPrefixes("query: ", "passage: ")),
    (r"qwen3-embedding", EmbeddingPrefixes(_INSTRUCTION)),
    (r"arctic-embed.*-v2", EmbeddingPrefixes("query: ")),
    (r"arctic-embed|mxbai-embed-large", EmbeddingPrefixes(_SENTENCE)),
    (r"\bbge-(small|base|large)-en", EmbeddingPrefixes(_SENTENCE)),
    (r"\bbge-(small|base|large)-zh", EmbeddingPrefixes("为这个句子生成表示以用于检索相关文章：")),
)
"""Patterns of names in small letters, with a dash for each space or line; the first one counts."""


def prefixes_of(model: Model) -> EmbeddingPrefixes:
    """Return the prefixes of an embedding model."""
    if model.architecture == "gemma-embedding":
        return _GEMMA
    names = " ".join((model.name, model.title, *model.files)).lower()
    dashed = re.sub(r"[\s_]+", "-", names)
    return next(
        (prefixes for pattern, prefixes in _FAMILIES if re.search(pattern, dashed)),
        EmbeddingPrefixes(),
    )
