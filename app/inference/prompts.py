"""From a request to the token ids of its prompt, fitted to its window."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from app.inference.kv import ContextPool
from app.inference.protocol import Generate
from app.inference.remembered import RememberingTokenizer
from app.inference.window import Fitted, fit, fit_opened, fit_whole, reserve
from app.models.template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the prompts of one model are made with. `context_length`: of its contexts, in tokens."""

    template: ChatTemplate
    tokenizer: RememberingTokenizer
    contexts: ContextPool
    context_length: int

    def make(self, request: Generate) -> Fitted:
        """Raises PromptTooLong, or TemplateError."""
        window = min(self.context_length, request.context or self.context_length)
        if request.text is not None:
            tokens = self.template.encode_plain(request.text)
            if request.embeds and request.may_drop:
                tokens = tokens[: window - 1]
            fitted = fit_whole(tokens, window - 1)
        elif request.may_drop:
            fitted = self._fit(request, window)
        else:
            tokens = self.template.encode(request.turns, request.opening)
            fitted = fit_whole(tokens, window - 1)
        return replace(fitted, window=window)

    def _fit(self, request: Generate, window: int) -> Fitted:
        room = reserve(request.max_tokens, window)
        spelled = self.tokenizer.learn(self.contexts.spelled(request.chat))
        encode = functools.partial(self.template.encode, spelled=spelled)
        if not request.opening:
            return fit(request.turns, encode, window - room)
        opened = functools.partial(encode, opening=request.opening)
        some = max(1, room // 4)
        return fit_opened(request.turns, encode, opened, window - room, window - some)
