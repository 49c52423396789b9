"""Tool calls of one answer: where they begin, what must come, and the grammar that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from app.inference.protocol import Generate
from app.inference.runner.grammar import AnswerGrammar, Grammars
from app.models.text.call_parser import CallParser
from app.models.text.tool_formats import ToolFormat

CLOSING_TOKENS: Final = 64
"""Tokens that are left of an answer when a call in it is brought to its end."""


class CallVocabulary(Protocol):
    """Protocol of the tokenizer that calls need."""

    def encode_continuation(self, text: str, /) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Calling:
    """Marks of a model's tool calls in its tokens.

    markers: the special tokens of which markers are made, as bytes; opening: the tokens that begin
    a call where one must come; ends: those that end a text in one.
    """

    format: ToolFormat
    markers: Mapping[int, bytes]
    opening: tuple[int, ...]
    ends: tuple[tuple[int, ...], ...]
    vocabulary: CallVocabulary


@dataclass(slots=True)
class AnswerCalls:
    """Calls of one answer. grammar: of all that follows, once a call has begun.

    Making one raises SchemaRefused where a tool's schema cannot be followed.
    """

    request: Generate
    calling: Calling
    grammars: Grammars | None
    grammar: AnswerGrammar | None = None
    tokens_left: int = CLOSING_TOKENS
    parser: CallParser = field(init=False)

    def __post_init__(self) -> None:
        self.parser = CallParser(self.calling.format, self.request.tools)
        self._behind(self.calling.format.marker)

    @classmethod
    def of_request(
        cls, request: Generate, calling: Calling | None, grammars: Grammars | None
    ) -> AnswerCalls | None:
        """None for a request without tools."""
        if calling is None or not request.offers_tools:
            return None
        return cls(request, calling, grammars)

    @property
    def opening(self) -> Sequence[int]:
        """The tokens that must come first; none where the model may choose."""
        return self.calling.opening if self.request.must_call else ()

    def limit(self, tokens: int) -> None:
        """Bring a call to its end while there are tokens left for that: half a one is of no use."""
        self.tokens_left = tokens
        if self.grammar is not None and tokens == CLOSING_TOKENS:
            self.grammar.close(self.calling.ends)

    def begin(self, marker: str, rest: str) -> bool:
        """Hold the answer to its tools from a marker on; False where what has come behind it is no
        call."""
        grammar = self._behind(marker)
        if grammar is None:
            return True
        if not grammar.takes(self.calling.vocabulary.encode_continuation(rest)):
            return False
        self.grammar = grammar
        if self.tokens_left < CLOSING_TOKENS:
            self.grammar.close(self.calling.ends)
        return True

    def _behind(self, marker: str) -> AnswerGrammar | None:
        if self.grammars is None:
            return None
        tools, parallel = self.request.callable_tools, self.request.parallel_tool_calls
        return self.grammars.of_calls(self.calling.format, tools, marker, parallel=parallel)
