"""From a request to the token ids of its prompt, fitted to its window."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from app.inference.kv import ContextPool
from app.inference.protocol import Generate
from app.inference.remembered import RememberingTokenizer
from app.inference.snapshot import common_prefix
from app.inference.window import Fitted, fit, fit_opened, fit_whole, reserve
from app.models.model import Turn
from app.models.template import ChatTemplate

KNOWN = 64
"""System prompts whose length in tokens is remembered."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the prompts of one model are made with.

    context_length: of its contexts, in tokens; exact: makes the template for requests that must not
    depend on how earlier answers were spelled.
    """

    template: ChatTemplate
    tokenizer: RememberingTokenizer
    contexts: ContextPool
    context_length: int
    exact: Callable[[], ChatTemplate] | None = None
    _known: dict[tuple[Turn, ...], int] = field(default_factory=dict)

    def make(self, request: Generate) -> Fitted:
        """Raises PromptTooLong, or TemplateError."""
        window = min(self.context_length, request.context or self.context_length)
        if request.text is not None:
            fitted = self._plain(request, request.text, window - 1)
        elif request.may_drop:
            fitted = self._fit(request, window)
        else:
            template = self._template(request)
            whole = functools.partial(template.encode, request.turns, request.opening)
            fitted = fit_whole(whole, window - 1)
        shared = 0 if request.text is not None else self._shared(request.turns)
        return replace(fitted, window=window, shared=shared)

    def _plain(self, request: Generate, text: str, limit: int) -> Fitted:
        """A text of which only the beginning may count, or all of it."""
        template = self._template(request)
        if not (request.embeds and request.may_drop):
            return fit_whole(functools.partial(template.encode_plain, text), limit)
        return Fitted(template.encode_plain(text, first=limit), 0)

    def _template(self, request: Generate) -> ChatTemplate:
        return self.exact() if request.is_exact and self.exact is not None else self.template

    def _shared(self, turns: Sequence[Turn]) -> int:
        """Tokens up to where the first words that are not the system prompt's begin."""
        system = tuple(itertools.takewhile(lambda turn: turn.role == "system", turns))
        if system not in self._known:
            one, other = (
                np.array(self.template.encode([*system, Turn("user", text)]), np.int32)
                for text in "ab"
            )
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[system] = common_prefix(one, other)
        return self._known[system]

    def _fit(self, request: Generate, window: int) -> Fitted:
        room = reserve(request.max_tokens, window)
        spelled = self.tokenizer.learn(self.contexts.spelled(request.chat))
        encode = functools.partial(self._template(request).encode, spelled=spelled)
        if not request.opening:
            return fit(request.turns, encode, window - room)
        opened = functools.partial(encode, opening=request.opening)
        some = max(1, room // 4)
        return fit_opened(request.turns, encode, opened, window - room, window - some)
