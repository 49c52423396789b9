"""Relevance of a document to a query, from what a reranker computes of the two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from app.errors import ModelLoadError
from app.inference.runner.engines.engine import Logits
from app.models.text.tokenizer import Tokenizer

YES, NO = "yes", "no"
MAX_LOGIT: Final = 700.0


@dataclass(frozen=True, slots=True)
class RelevanceHead:
    """Head of a reranker. words: the tokens for yes and no, of one whose next word tells it;
    None where it has a head of its own."""

    words: tuple[int, int] | None = None

    @classmethod
    def by_next_word(cls, tokenizer: Tokenizer) -> RelevanceHead:
        """Raises ModelLoadError for a vocabulary without these words."""
        ids = [tokenizer.encode_continuation(word) for word in (YES, NO)]
        if any(not word for word in ids) or ids[0][0] == ids[1][0]:
            raise ModelLoadError("This reranker has no words for yes and no.")
        return cls((ids[0][0], ids[1][0]))

    def relevance(self, values: Logits) -> float:
        """Compute it, from 0 to 1, from the head's outputs, or the logits of the next token."""
        if self.words is not None:
            yes, no = (float(values[word]) for word in self.words)
            return _sigmoid(yes - no)
        # One output is a logit; of several the library gives probabilities, that of yes first.
        return _sigmoid(float(values[0])) if values.size == 1 else float(values[0])


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-MAX_LOGIT, min(logit, MAX_LOGIT))))
