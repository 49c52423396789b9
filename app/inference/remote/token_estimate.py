"""Estimate of a prompt's tokens without the tokenizer, learned from real counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.inference.context_window import answer_reserve, fit, without_oldest
from app.inference.eta import WeightedRate
from app.models.model import Turn

_LATIN: Final = 3.5  # characters of a token, a little fewer than usual: rather too short a prompt
_OTHER: Final = 1.3
_TURN: Final = 8  # tokens that a template puts around each turn
_LEAST, _MOST = 0.5, 2.5
MARGIN: Final = 64
"""Tokens between the estimated prompt with its answer and the end of the window."""


@dataclass(frozen=True, slots=True)
class EstimatedPrompt:
    """turns: those that fit; dropped: how many older ones do not; prompt, max_tokens: tokens."""

    turns: list[Turn]
    dropped: int
    prompt: int
    max_tokens: int


class TokenEstimator:
    """Estimator for one server's model."""

    def __init__(self) -> None:
        self._rate = WeightedRate(1000, 1000)

    def tokens(self, turns: Sequence[Turn]) -> int:
        return math.ceil(_guess(turns) * self._factor)

    def learn(self, turns: Sequence[Turn], tokens: int) -> None:
        """Learn from a prompt's real count."""
        if tokens > 0 and turns:
            self._rate.record(tokens, _guess(turns))

    def reset_to(self, turns: Sequence[Turn], tokens: int) -> None:
        """Start anew from a real count, when the estimate was entirely wrong."""
        self._rate = WeightedRate(float(tokens), _guess(turns))

    def fit(
        self, turns: Sequence[Turn], opening: str, max_tokens: int, window: int
    ) -> EstimatedPrompt:
        """The newest turns that leave room for the answer. Raises PromptTooLong."""
        begun = [Turn("assistant", opening)] if opening else []
        room = answer_reserve(max_tokens, window)
        limit = max(1, window - room - min(MARGIN, window // 8))
        fitted = fit(turns, lambda some: [0] * self.tokens([*some, *begun]), limit)
        prompt = len(fitted.tokens)
        kept = without_oldest(turns, fitted.dropped)
        left = window - prompt - min(MARGIN, window // 8)
        return EstimatedPrompt(kept, fitted.dropped, prompt, max(1, min(max_tokens, left)))

    def fit_all(
        self, turns: Sequence[Turn], opening: str, max_tokens: int, window: int
    ) -> EstimatedPrompt:
        """Keep the whole prompt: whether it fits is only estimated here, and the server knows."""
        begun = [Turn("assistant", opening)] if opening else []
        prompt = self.tokens([*turns, *begun])
        left = max(window - prompt - min(MARGIN, window // 8), answer_reserve(max_tokens, window))
        return EstimatedPrompt(list(turns), 0, prompt, min(max_tokens, left))

    @property
    def _factor(self) -> float:
        return min(_MOST, max(_LEAST, self._rate.value or 1.0))


def _guess(turns: Sequence[Turn]) -> float:
    total = float(_TURN)
    for turn in turns:
        latin = len(turn.content.encode("ascii", "ignore"))
        total += _TURN + latin / _LATIN + (len(turn.content) - latin) / _OTHER
    return total
