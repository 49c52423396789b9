"""Constrains answers to a JSON schema or a grammar: tokens that would leave it are impossible.

The library parses it and knows, after each token, which may come next. It sees the very bytes of
which the answer is made, so nothing of its view differs from the reader's. Its errors about a
schema or a grammar become sentences.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import SchemaRefused
from app.inference.protocol import Generate
from app.inference.runner.call_grammar import build_call_grammar
from app.inference.runner.engines.engine import Logits
from app.models.text.tool_formats import ToolFormat
from app.models.text.tools import ToolSpec

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

# Small models lose themselves in white space where a grammar lets them.
_STYLE: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
LONG_SCHEMA = 4096
"""Characters from which on a schema takes noticeable time."""
KEPT_CALL_GRAMMARS: Final = 8
"""Of the tools that came last; chats and agents send the same ones again and again."""
_TOOLS: Final = "the schemas of these tools"
_LETTERS: Final = (b"q", b"x", b"z", b"Q", b"X", b"Z")
"""Letters with which no word of JSON begins, and no number goes on."""
_ENDERS: Final = (b"}])", b'"', b",")
_MAX_REASON_CHARS: Final = 200  # characters of a reason that is given in the library's words
_ENDLESS: Final = "it refers to itself without an end"
_SENTENCES: Final = (
    (r"NoExtensionBias|MaxTokensParser|NoExtension$", _ENDLESS),
    (r"Pointer '(.*?)' does not exist", "its $ref leads to “{}”, which is not in it"),
    (r"Anchor '(.*?)' does not exist", "its $ref leads to “#{}”, which is not in it"),
    (r"Resource '(.*?)' is not present", "its $ref leads to “{}”, and nothing is fetched"),
    (r"Unimplemented keys: \[(.*?)\]", "it uses {}, which cannot be followed"),
    (r"Invalid type: (.*)", "there is no type “{}”"),
    (r"Unknown format: (.*)", "the format “{}” is not known"),
    (r"(?s)regex parse error.*error: (.*?)\s*$", "a pattern in it is not valid: {}"),
    (r"regex parse error|[Rr]egex", "a pattern in it cannot be followed"),
    (r"oneOf constraints are not supported", "it uses oneOf with choices that may both be right"),
    (r"Expecting object schema|expected value", "it is not a JSON object"),
    (r"invalid multiple of", "its multipleOf is not a number above 0"),
    (r"required property '(.*?)' is unsatisfiable", "it requires “{}” and does not allow it"),
    (r"anyOf is empty", "it leaves nothing to choose from"),
    (r"incompatible types", "it asks for two types at once"),
    (r"(\w+) \((.*?)\) is greater than (\w+) \((.*?)\)", "its {} ({}) is greater than its {} ({})"),
    (r"Unsatisfiable schema: (.*)", "nothing can satisfy it ({})"),
    (r"(\w+) must be an? (.*)|type must be (.*)", None),
    (
        r"(?i)too (many|large|complex|big|deep)|limit|fuel|recursion",
        "it is too large or too complex",
    ),
    (r"at line (\d+), '.*|^(\d+)\(\d+\):.*", "line {} of it cannot be read"),
    (r"No 'root' rule|no start rule", "it has no rule “root” or “start”"),
    (r"unknown (?:name|grammar):? \"?@?(\w+)|Rule '(\w+)' not found", "it has no rule “{}”"),
)


class GrammarVocabulary(Protocol):
    """Protocol of the tokenizer that grammars need."""

    vocab_size: int
    bos_id: int | None
    end_ids: frozenset[int]
    special_ids: frozenset[int]

    def token_bytes(self, index: int, /) -> bytes: ...
    def encode_continuation(self, text: str, /) -> list[int]: ...
    def split_special_tokens(self, text: str, /) -> list[int | str]: ...


class Grammars:
    """Grammars of one model. Any thread may use it.

    permit: held while a long schema is compiled, so that this takes its turn with other work.
    """

    def __init__(
        self,
        vocabulary: GrammarVocabulary,
        permit: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._vocabulary = vocabulary
        self._permit = permit
        self._lock = threading.Lock()
        self._calls: OrderedDict[tuple[object, ...], AnswerGrammar] = OrderedDict()

    def of_request(self, request: Generate) -> AnswerGrammar | None:
        """Build the grammar of a request's answer; None without one. Raises SchemaRefused."""
        if request.schema is not None:
            return self.compile(request.schema)
        return None if request.grammar is None else self.of_rules(request.grammar)

    def compile(self, schema: str) -> AnswerGrammar:
        """Compile the grammar of JSON by this schema. Raises SchemaRefused."""
        with self._permit() if len(schema) > LONG_SCHEMA else nullcontext():
            return self._compiled(schema)

    def _compiled(self, schema: str) -> AnswerGrammar:
        from llguidance import LLMatcher

        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, _STYLE)
        except ValueError as error:
            raise SchemaRefused(_refusal_reason("this JSON schema", str(error))) from error
        return self._matched("this JSON schema", grammar)

    def of_rules(self, rules: str) -> AnswerGrammar:
        """Compile rules in Lark's or GBNF's notation. Raises SchemaRefused."""
        from llguidance import LLMatcher
        from llguidance.gbnf_to_lark import any_to_lark

        with self._permit() if len(rules) > LONG_SCHEMA else nullcontext():
            try:
                lark = any_to_lark(rules)
            except RecursionError as error:
                raise SchemaRefused("This grammar is nested too deeply.") from error
            except Exception as error:  # the library raises bare exceptions
                raise SchemaRefused(_refusal_reason("this grammar", str(error))) from error
            return self._matched("this grammar", LLMatcher.grammar_from_lark(lark))

    def of_calls(
        self, known: ToolFormat, tools: Sequence[ToolSpec], marker: str, *, parallel: bool
    ) -> AnswerGrammar:
        """Compile the grammar of what follows a marker of calls. Raises SchemaRefused."""
        key = (known.name, marker, parallel, *tools)
        with self._lock:
            if (made := self._calls.get(key)) is not None:
                self._calls.move_to_end(key)
                return made.copy()
        size = sum(len(tool.parameters) for tool in tools)
        with self._permit() if size > LONG_SCHEMA else nullcontext():
            made = self._compiled_calls(known, tools, marker, parallel=parallel)
        with self._lock:
            self._calls[key] = made
            while len(self._calls) > KEPT_CALL_GRAMMARS:
                self._calls.popitem(last=False)
        return made.copy()

    def _compiled_calls(
        self, known: ToolFormat, tools: Sequence[ToolSpec], marker: str, *, parallel: bool
    ) -> AnswerGrammar:
        split = self._vocabulary.split_special_tokens

        def compiled(some: Sequence[ToolSpec], what: str, *, patterns: bool) -> AnswerGrammar:
            try:
                rules = build_call_grammar(
                    known, some, marker, split, parallel=parallel, patterns=patterns
                )
            except (ValueError, RecursionError) as error:
                raise SchemaRefused(_refusal_reason(what, str(error))) from error
            return self._matched(what, rules)

        try:
            return compiled(tools, _TOOLS, patterns=True)
        except SchemaRefused:
            with contextlib.suppress(SchemaRefused):
                return compiled(tools, _TOOLS, patterns=False)
            for tool in tools:  # to say which one it is
                compiled([tool], f"the schema of the tool “{tool.name}”", patterns=False)
            raise

    def _matched(self, what: str, grammar: str) -> AnswerGrammar:
        from llguidance import LLMatcher

        with self._lock:
            tokenizer = self._tokenizer
        matcher = LLMatcher(tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise SchemaRefused(_refusal_reason(what, matcher.get_error()))
        return AnswerGrammar(matcher, what, self._closers)

    @cached_property
    def _closers(self) -> Closers:
        vocabulary = self._vocabulary
        spelled = [vocabulary.token_bytes(index).strip() for index in range(vocabulary.vocab_size)]

        def begun_by(characters: bytes) -> NDArray[np.int64]:
            found = [i for i, said in enumerate(spelled) if said[:1] and said[:1] in characters]
            return np.array(found, np.int64)

        letters = [i for i, said in enumerate(spelled) if said in _LETTERS]
        return Closers(
            structure=(np.array(sorted(vocabulary.end_ids), np.int64), *map(begun_by, _ENDERS)),
            letters=np.array(letters, np.int64),
            quote=tuple(i for i, said in enumerate(spelled) if said == b'"')[:1],
        )

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        """Build the library's tokenizer on first use: that takes a tenth of a second."""
        from llguidance import LLTokenizer, TokenizerWrapper

        spelled = _LlgTokenizer(self._vocabulary)
        ends = sorted(self._vocabulary.end_ids) or None
        size = self._vocabulary.vocab_size
        return LLTokenizer(TokenizerWrapper(spelled), n_vocab=size, eos_token=ends)


@dataclass(frozen=True, slots=True)
class Closers:
    """Tokens by which an answer is brought to its end.

    structure: those that bring it nearer where no text stands, the surest ones first; letters:
    those that may only come within a text; quote: the token that ends a text of JSON.
    """

    structure: tuple[NDArray[np.int64], ...]
    letters: NDArray[np.int64]
    quote: tuple[int, ...]


class AnswerGrammar:
    """State of one answer in its grammar; `what` describes the grammar in words."""

    def __init__(self, matcher: LLMatcher, what: str, closers: Closers) -> None:
        self._matcher = matcher
        self._what = what
        self._closers = closers
        self._ends: list[list[int]] = []
        self._closing: list[int] = []
        self._is_closing = False

    def close(self, ends: Sequence[Sequence[int]] = ()) -> None:
        """Bring the answer to its end from now on, as soon as the grammar lets it; ends: tokens
        that end a text."""
        self._is_closing, self._ends = True, [list(end) for end in ends]

    @property
    def is_over(self) -> bool:
        """Tell whether the answer is complete, so that only its end may follow."""
        return self._matcher.is_stopped()

    def copy(self) -> AnswerGrammar:
        """Copy the grammar in its state."""
        return AnswerGrammar(self._matcher.deep_copy(), self._what, self._closers)

    def takes(self, tokens: Sequence[int]) -> bool:
        """Accept tokens if all of them may come."""
        if self._matcher.validate_tokens(list(tokens)) < len(tokens):
            return False
        return self._matcher.consume_tokens(list(tokens))

    def mask(self, logits: Logits) -> None:
        allowed = self._allowed(self._matcher)[: logits.size]
        logits[(self._nearest_end(allowed) if self._is_closing else allowed) == 0] = -np.inf

    def _allowed(self, matcher: LLMatcher) -> NDArray[np.uint8]:
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        if matcher.is_error():
            raise SchemaRefused(_refusal_reason(self._what, matcher.get_error()))
        return np.unpackbits(mask, bitorder="little")

    def _nearest_end(self, allowed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Leave only the tokens that lead to the end, where there are some."""
        is_text = self._is_text(allowed)
        if is_text and not self._closing:
            ends = (*self._ends, list(self._closers.quote))
            self._closing = next((list(end) for end in ends if self._ends_text(end)), [])
        tiers = self._closers.structure[:1] if is_text else self._closers.structure
        for tier in [np.array(self._closing[:1])] if self._closing else tiers:
            if allowed[tier].any():
                left = np.zeros_like(allowed)
                left[tier] = allowed[tier]
                return left
        return allowed

    def _is_text(self, allowed: NDArray[np.uint8]) -> bool:
        return bool(allowed[self._closers.letters].any())

    def _ends_text(self, tokens: Sequence[int]) -> bool:
        """Tell whether a text is over behind these tokens: within one they may also be text."""
        if not tokens or self._matcher.validate_tokens(list(tokens)) < len(tokens):
            return False
        behind = self._matcher.deep_copy()
        behind.consume_tokens(list(tokens))
        return behind.is_stopped() or not self._is_text(self._allowed(behind))

    def accept(self, token: int) -> None:
        self._closing = self._closing[1:]
        if not self._matcher.consume_token(token):
            raise SchemaRefused(_refusal_reason(self._what, self._matcher.get_error()))


class _LlgTokenizer:
    """Adapter of the tokenizer to the library. Special tokens stand for no text."""

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._encode = vocabulary.encode_continuation
        self.bos_token_id = vocabulary.bos_id
        self.eos_token_id = min(vocabulary.end_ids, default=0)
        self.special_token_ids = sorted(vocabulary.special_ids)
        self.tokens = [vocabulary.token_bytes(index) for index in range(vocabulary.vocab_size)]
        for index in vocabulary.special_ids:  # named as the library does, each apart from the rest
            self.tokens[index] = f"[{index}]".encode()

    def __call__(self, text: str | bytes) -> Sequence[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


def _refusal_reason(what: str, reason: str) -> str:
    return f"Answers cannot be made to follow {what}: {_reason_of(reason)}."


def _reason_of(text: str) -> str:
    """Explain why it cannot be followed, as the end of a sentence without its full stop."""
    for pattern, sentence in _SENTENCES:
        if (match := re.search(pattern, text)) is not None:
            groups = [group for group in match.groups() if group is not None]
            found = match[0] if sentence is None else sentence.format(*groups)
            return _short(found.replace('"', ""))
    return _short(text) or "no reason is given"


def _short(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line[:_MAX_REASON_CHARS].rstrip(" .")
