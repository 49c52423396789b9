"""Builds the token ids of a prompt from a request, fitted to its window."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from app.errors import PromptRefused, PromptTooLong, TooManyTokens
from app.inference.context_window import (
    FittedPrompt,
    answer_reserve,
    fit,
    fit_continuation,
    fit_cut,
    fit_exact,
)
from app.inference.protocol import Generate
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.kv.snapshot import common_prefix
from app.inference.runner.token_memory import StableTokenizer
from app.models.model import Turn, merge_system
from app.models.text.chat_template import ChatTemplate
from app.models.text.template_sandbox import RefusedByTemplate
from app.models.text.tools import ToolSpec

GREETING = "Hello."
"""What an answer that stands first is an answer to, where a template insists on a question."""
KNOWN_PROMPTS = 64
"""System prompts whose length in tokens is remembered."""


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Builder of the prompts of one model.

    context_length: of its contexts, in tokens; exact: makes the template for requests that must not
    depend on how earlier answers were spelled.
    """

    template: ChatTemplate
    tokenizer: StableTokenizer
    contexts: KvCache
    context_length: int
    exact: Callable[[], ChatTemplate] | None = None
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)

    def build(self, request: Generate) -> FittedPrompt:
        """Build the prompt of a request. Raises PromptTooLong, PromptRefused, or TemplateError."""
        self._check_ids(request)
        window = min(self.context_length, request.context or self.context_length)
        try:
            fitted = self._fitted(request, window)
        except PromptTooLong as error:
            error.context_length = window
            raise
        is_plain = request.text is not None or request.before
        shared = 0 if is_plain else self._system_prefix_length(request)
        return replace(fitted, window=window, shared=shared)

    def _fitted(self, request: Generate, window: int) -> FittedPrompt:
        try:
            return self._fitted_as_it_is(request, window)
        except RefusedByTemplate:
            turns = alternating(request.turns)
            if turns == request.turns:
                raise
            return self._fitted_as_it_is(replace(request, turns=turns), window)

    def _fitted_as_it_is(self, request: Generate, window: int) -> FittedPrompt:
        if request.text is not None:
            plain = functools.partial(self._plain, request, request.text, window - 1)
            return fit_exact(plain, window - 1)
        if request.allow_truncation:
            fitted = self._fit(request, window)
        else:
            template = self._template(request)
            whole = functools.partial(
                template.encode,
                request.turns,
                request.opening,
                thought=request.thought,
                variables=self._variables(request),
                tools=_told_tools(request),
            )
            fitted = fit_exact(whole, window - 1)
        return self._behind(request, fitted, window - 1) if request.before else fitted

    def _template(self, request: Generate) -> ChatTemplate:
        return self.exact() if request.is_exact and self.exact is not None else self.template

    def _check_ids(self, request: Generate) -> None:
        size = self.tokenizer.vocab_size
        for what, ids in (
            ("The prompt has the token id", request.before),
            ("logit_bias names the token id", [token for token, _ in request.bias]),
        ):
            if (wrong := next((i for i in ids if not 0 <= i < size), None)) is not None:
                raise PromptRefused(f"{what} {wrong}; those of this model are 0 to {size - 1}.")

    def _plain(self, request: Generate, text: str, limit: int) -> list[int]:
        """Encode a prompt without a template, cut where it may be."""
        if request.suffix:
            return self._infill(text, request.suffix, limit)
        is_cut = request.wants_embedding and request.allow_truncation
        if request.before:
            return list(request.before[:limit] if is_cut else request.before)
        if request.may_cut:
            return self._end_of(request, text, limit)
        return self._template(request).encode_plain(text, first=limit if is_cut else None)

    def _end_of(self, request: Generate, text: str, limit: int) -> list[int]:
        """Encode the last tokens of a text, as many as fit."""
        while True:
            try:
                tokens = self._template(request).encode_plain(text)
            except TooManyTokens as error:
                text = text[-max(1, min(len(text) // 2, 2 * limit * len(text) // error.about)) :]
                continue
            opening = tokens[:1] if tokens[0] == self.tokenizer.bos_id else []
            cut = len(tokens) > limit
            return [*opening, *tokens[len(opening) - limit :]] if cut else tokens

    def _infill(self, prefix: str, suffix: str, limit: int) -> list[int]:
        """Build the prompt that asks for the text between the two."""
        tokenizer = self.tokenizer
        for text in (prefix, suffix):
            tokenizer.check_length(text, limit)
        if tokenizer.infill_ids is None:
            raise PromptRefused("This model does not support insert: leave out the suffix.")
        before, behind, middle = tokenizer.infill_ids
        opening = [tokenizer.bos_id] if tokenizer.adds_bos and tokenizer.bos_id is not None else []
        ids = [*opening, before, *tokenizer.encode_continuation(prefix)]
        return [*ids, behind, *tokenizer.encode_continuation(suffix), middle]

    def _behind(self, request: Generate, fitted: FittedPrompt, limit: int) -> FittedPrompt:
        """Put the prompt behind the ids before it, the oldest of which may have to go."""
        tokens, before = fitted.tokens, list(request.before)
        bos = self.tokenizer.bos_id
        tokens = tokens[1:] if bos is not None and tokens[:1] == [bos] else tokens
        if request.may_cut:
            before = before[max(0, len(before) + len(tokens) - limit) :]
        return replace(fit_exact(lambda: [*before, *tokens], limit), dropped=fitted.dropped)

    def _variables(self, request: Generate) -> dict[str, object]:
        """Return the template's variables for thinking."""
        think = None if request.thought else request.think
        has_rules = request.schema is not None or request.grammar is not None or request.must_call
        if has_rules and think is None and not request.thought:
            think = False  # a thought would have to follow the rules of the answer
        return self.template.thinking_controls.variables(think=think, effort=request.effort)

    def _system_prefix_length(self, request: Generate) -> int:
        """Count the tokens before the first words that are not the system prompt's, or are those
        of a document: whoever guesses its words must not see that another has read them."""
        system = tuple(
            itertools.takewhile(
                lambda turn: turn.role == "system" and not turn.stays, request.turns
            )
        )
        variables = self._variables(request)
        tools = _told_tools(request)
        key = system, tuple(variables.items()), tools
        if key not in self._known:
            one, other = (
                np.array(
                    self.template.encode(
                        [*system, Turn("user", text)], variables=variables, tools=tools
                    ),
                    np.int32,
                )
                for text in "ab"
            )
            if len(self._known) >= KNOWN_PROMPTS:
                self._known.clear()
            self._known[key] = common_prefix(one, other)
        return self._known[key]

    def _fit(self, request: Generate, window: int) -> FittedPrompt:
        room = answer_reserve(request.max_tokens, window)
        spelled = self.tokenizer.import_runs(self.contexts.token_runs(request.chat))
        variables = self._variables(request)
        encode = functools.partial(
            self._template(request).encode,
            spelled=spelled,
            variables=variables,
            tools=_told_tools(request),
        )
        opened = functools.partial(encode, opening=request.opening, thought=request.thought)
        try:
            if not request.opening and not request.thought:
                return fit(request.turns, encode, window - room)
            some = max(1, room // 4)
            return fit_continuation(request.turns, encode, opened, window - room, window - some)
        except PromptTooLong:
            if not request.may_cut:
                raise
            return fit_cut(request.turns, opened, window - room)


def _told_tools(request: Generate) -> tuple[ToolSpec, ...]:
    """The tools that the model is told of: one that may call none would do so all the same."""
    return request.tools if request.offers_tools else ()


def alternating(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Rearrange turns: no system role, begun by the user, and by each in turn."""
    made: list[Turn] = []
    for turn in merge_system(turns):
        if made and made[-1].role == turn.role != "tool" and not made[-1].calls:
            made[-1] = made[-1].followed_by(turn, "\n\n")
        else:
            made += [turn] if made or turn.role == "user" else [Turn("user", GREETING), turn]
    return tuple(made)
