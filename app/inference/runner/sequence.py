"""One running request: its prompt is read in slices, then each step makes one token."""

from __future__ import annotations

import time
from collections import abc, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.inference.context_window import FittedPrompt
from app.inference.protocol import (
    Delta,
    Event,
    Finished,
    FinishReason,
    Generate,
    Prefill,
    SampledToken,
    TokenLogprob,
)
from app.inference.runner.calling import AnswerCalls, Calling
from app.inference.runner.detokenizer import Detokenizer, TextChunk
from app.inference.runner.engines.engine import GoOn, Logits
from app.inference.runner.grammar import AnswerGrammar, Grammars
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.kv.live import LiveSlice
from app.inference.runner.kv.snapshot import TokenRuns
from app.inference.runner.pictures.encoder import PictureEncoder
from app.inference.runner.pictures.image_ids import without_rows
from app.inference.runner.pictures.shown import ShownPictures
from app.inference.runner.relevance import RelevanceHead
from app.inference.runner.sampling import Sampler, logprobs, top_k_indices
from app.inference.runner.threads import Kind, ThreadTuner
from app.models.text.thinking import ThinkingFormat, ThinkingParser

MAX_LOGPROBS_PER_EVENT = 64
"""Tokens of a prompt in one event."""
MARK_TOKENS = 16
"""Of a prompt's end, in front of which a state is kept that cannot be cut: there the answer's
opening begins, which the next prompt of the chat may write in another way."""
TAIL_TOKENS = 32
"""Of a prompt, in which it shows whether a thought is open at its end."""


class RunnerVocabulary(Protocol):
    """Interface of a tokenizer to a running sequence."""

    @property
    def end_ids(self) -> frozenset[int]: ...
    def token_bytes(self, index: int, /) -> bytes: ...
    def marked_text(self, ids: abc.Iterable[int], /) -> str: ...
    def remember(
        self, prompt: abc.Sequence[int], answer: abc.Sequence[int], text: str, /
    ) -> None: ...
    def remember_calls(self, prompt: abc.Sequence[int], answer: abc.Sequence[int], /) -> None: ...
    def token_runs(self, ids: abc.Sequence[int], /) -> TokenRuns: ...


@dataclass(frozen=True, slots=True)
class Thinking:
    """Marks of a model's thoughts in its tokens.

    markers: the special tokens of which markers are made, as bytes; closing: the tokens that end a
    thought and begin the answer.
    """

    format: ThinkingFormat
    markers: abc.Mapping[int, bytes]
    closing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """Context that all sequences of a runner share. `clock` counts seconds.

    min_delta_interval: seconds between two deltas of one answer, the first one aside. thinking:
    how thoughts are told from answers, for models that think; calling: how tool calls are.
    is_stateless: of texts that were read nothing is kept; relevance: how a reranker says what it
    found; pictures: turns them into rows, for models that see.
    """

    contexts: KvCache
    context_length: int
    vocabulary: RunnerVocabulary
    tuner: ThreadTuner
    grammars: Grammars | None = None
    clock: Callable[[], float] = time.monotonic
    min_delta_interval: float = 0.0
    thinking: Thinking | None = None
    calling: Calling | None = None
    is_stateless: bool = False
    relevance: RelevanceHead | None = None
    pictures: PictureEncoder | None = None


class RunningSequence:
    """Holds a context from its making until it ended or is closed. In one step at a time.

    Making one raises EngineError when there is no context for it, SchemaRefused when its schema
    cannot be followed.
    """

    def __init__(self, request: Generate, prompt: FittedPrompt, room: RunnerContext) -> None:
        self._request = request
        self._prompt = prompt
        self._context = room
        self._window = min(prompt.window or room.context_length, room.context_length)
        self._ids = list(prompt.tokens)  # the prompt, then the answer
        self._grammar = None if room.grammars is None else room.grammars.of_request(request)
        self._thinking = room.thinking if request.text is None else None
        self._calls = AnswerCalls.of_request(request, room.calling, room.grammars)
        self._text = Detokenizer(
            request.stop,
            self._parser(),
            None if self._calls is None else self._calls.parser,
            self._begin_calls,
        )
        self._thought_tokens = 0
        self._forced: deque[int] = deque()
        if not self._text.is_thinking:
            self._force_call()
        ends = room.vocabulary.end_ids
        # What a model thinks follows no grammar; its answer does.
        grammar = None if self._text.is_thinking else self._grammar
        self._sampler = Sampler(request.sampling, ends, request.bias, grammar)
        self._started = room.clock()
        self._first_token: float | None = None
        self._embedding: tuple[float, ...] = ()
        self._pictures = ShownPictures(room.pictures, prompt.tokens)
        self._unsent = TextChunk()
        self._pending_logprobs: list[SampledToken] = []
        self._sent = len(self._ids)
        self._sent_at = float("-inf")
        self._end_token: tuple[int, ...] = ()
        # How likely the tokens of a prompt are is only known of those that are read now.
        kept = [] if request.tells_prompt or room.is_stateless else prompt.tokens
        self._live, self._cached, self._tier = room.contexts.acquire(
            kept,
            request.chat,
            owner=request.owner,
            shared=prompt.shared,
            exact=request.is_exact,
        )
        if request.tells_prompt:
            first = tuple(room.vocabulary.token_bytes(self._ids[0]))
            self._pending_logprobs.append(SampledToken(first, None))
        self.ended = self.has_failed = False
        """Whether it is over, and whether a step failed that it had a part in."""

    def _parser(self) -> ThinkingParser | None:
        if self._thinking is None:
            return None
        known, request = self._thinking.format, self._request
        end = self._context.vocabulary.marked_text(self._ids[-TAIL_TOKENS:])
        return ThinkingParser(
            known,
            is_open=not request.opening and (bool(request.thought) or known.is_opened_by(end)),
            is_answering=bool(request.opening),
            resumes=bool(request.opening or request.thought),
        )

    def _force_call(self) -> None:
        """Let a call come next, where one must."""
        if self._calls is not None and self._calls.grammar is None:
            self._forced.extend(self._calls.opening)

    def _begin_calls(self, marker: str, rest: str) -> bool:
        if self._calls is None or not self._calls.begin(marker, rest):
            return False
        self._sampler.follow(self._calls.grammar)
        return True

    @property
    def _rules(self) -> AnswerGrammar | None:
        """The grammar of the answer: its own, or that of its calls."""
        return self._grammar if self._calls is None else self._calls.grammar

    @property
    def kind(self) -> Kind:
        """Kind of its next step; a prompt may have to be read token by token."""
        is_single = self._is_telling and self._live.engine.max_outputs == 1
        return "prefill" if self.is_reading and not is_single else "decode"

    def progress(self) -> Prefill:
        return Prefill(
            id=self._request.id,
            done=min(self.past, len(self._prompt.tokens)),
            total=len(self._prompt.tokens),
            cached=self._cached,
            dropped=self._prompt.dropped,
            lost_documents=self._prompt.lost_documents,
        )

    @property
    def is_reading(self) -> bool:
        """Tell whether its prompt is not read to its end, or has to be read again."""
        return self._first_token is None or self.pending > 1

    @property
    def is_exact(self) -> bool:
        return self._request.is_exact

    @property
    def past(self) -> int:
        return len(self._live.tokens)

    @property
    def pending(self) -> int:
        """Tokens that are not evaluated yet: many of a prompt, one of an answer."""
        return len(self._ids) - self.past

    def next_slice(self, size: int) -> LiveSlice:
        """Cut at most `size` tokens for the next step to evaluate."""
        past, engine = self.past, self._live.engine
        end = min(past + max(1, size), past + engine.max_slice, len(self._ids))
        if (span := self._pictures.span(past)) is not None:
            rows = self._pictures.rows(span, past, end)
            return LiveSlice(self._live, self._ids[past : past + len(rows.values)], 0, rows=rows)
        end = self._pictures.text_end(past, end)
        if self._is_telling:
            end = min(end, past + engine.max_outputs)
        if engine.cuttable < engine.context_length:
            end = min((mark for mark in self._marks() if past < mark < end), default=end)
        is_last = end == len(self._ids)
        embedding = is_last and self._request.wants_embedding and not self._is_judged_by_word
        outputs = end - past if self._is_telling else int(is_last and not embedding)
        return LiveSlice(self._live, self._ids[past:end], outputs, embedding)

    # Pictures in its prompt.

    @property
    def reads_picture(self) -> bool:
        """Tell whether rows of a picture come next, which are a step of their own."""
        return self._pictures.span(self.past) is not None

    @property
    def reads_whole_picture(self) -> bool:
        """Tell whether rows come next that see each other: one step, however long it takes."""
        span = self._pictures.span(self.past)
        return span is not None and not span.rows.is_causal

    @property
    def needs_encoding(self) -> bool:
        """Tell whether a picture's rows come next that nobody has computed, or kept."""
        return self._pictures.needs_encoding(self.past)

    @property
    def awaits_picture(self) -> bool:
        """Tell whether some picture in its prompt is not read to its end."""
        return not self.ended and self._pictures.is_awaited(self.past)

    def encode_next(self, threads: int, go_on: GoOn | None = None) -> list[Event]:
        """Compute the rows that come next. Raises PromptRefused, EngineError, StepInterrupted."""
        self._pictures.encode(self.past, threads, go_on)
        return [self.progress()]

    def read_aside(self, threads: int, go_on: GoOn) -> list[Event] | None:
        """Read the rows that come next beside the steps of others; None where they must be one."""
        rows = self.next_slice(1)
        if not self._context.contexts.evaluate_aside(rows, threads, go_on):
            return None
        return self.advance(np.empty((0, 0), np.float32))

    @property
    def _is_telling(self) -> bool:
        """Tell whether it reports how likely the tokens of its prompt are, while it reads them."""
        return self._request.tells_prompt and self._first_token is None

    def _marks(self) -> tuple[int, ...]:
        """Positions where a later prompt may part from this one: behind the system prompt, and
        before the opening of the answer."""
        total = len(self._prompt.tokens)
        if self._context.is_stateless or total <= MARK_TOKENS:
            return ()
        last = total - MARK_TOKENS
        span = self._pictures.around(last)
        return self._prompt.shared, last if span is None else span.start

    def advance(self, logits: Logits) -> list[Event]:
        """Go on after the slice was evaluated; `logits`: those that it wanted. Its events."""
        if self.past in self._marks():
            self._live.checkpoint()
        if self._is_telling:
            self._emit_prompt_logprobs(logits)
        if self.pending:
            return self._progress_of_reading() if self._first_token is None else []
        if self._first_token is not None:
            return self._next_token(logits[-1, :])
        self._first_token = self._context.clock()
        if self._request.max_tokens <= 0:
            return [self.progress(), *self.end("length")]
        if self._request.wants_embedding:
            self._embedding = self._numbers(logits)
            return [self.progress(), *self.end("stop")]
        return [self.progress(), *self._next_token(logits[-1, :])]

    @property
    def _is_judged_by_word(self) -> bool:
        relevance = self._context.relevance
        return relevance is not None and relevance.words is not None

    def _numbers(self, logits: Logits) -> tuple[float, ...]:
        """Return what the model makes of the prompt."""
        values = logits[-1, :] if self._is_judged_by_word else self._live.embedding()
        relevance = self._context.relevance
        return tuple(map(float, values)) if relevance is None else (relevance.relevance(values),)

    def _emit_prompt_logprobs(self, logits: Logits) -> None:
        """Note the likelihood of the tokens that follow those of the slice, as far as they are the
        prompt's."""
        for place, row in enumerate(logits, start=self.past - len(logits) + 1):
            if place < len(self._prompt.tokens) and self._ids[place] >= 0:
                self._pending_logprobs.append(self._logprob_entry(self._ids[place], logprobs(row)))

    def _progress_of_reading(self) -> list[Event]:
        if not self._request.tells_prompt:
            return [self.progress()]
        if len(self._pending_logprobs) < MAX_LOGPROBS_PER_EVENT:
            return []
        return [self.progress(), *self._delta(TextChunk(), at_once=True)]

    def end(self, reason: FinishReason) -> list[Event]:
        """The last events. The context goes back, with all it holds, for the chat to go on."""
        rest = self._text.flush()
        answer = self._ids[len(self._prompt.tokens) :]
        if self._text.calls:
            reason = "tool_calls" if reason == "stop" else reason
            self._context.vocabulary.remember_calls(self._prompt.tokens, answer)
        elif not self._text.has_thought:  # else the tokens say more than the text
            self._context.vocabulary.remember(self._prompt.tokens, answer, self._text.text)
        self.close()
        now = self._context.clock()
        first = now if self._first_token is None else self._first_token
        finished = Finished(
            id=self._request.id,
            reason=reason,
            prompt_tokens=len(self._prompt.tokens),
            cached_tokens=self._cached,
            completion_tokens=len(answer),
            prefill_seconds=first - self._started,
            decode_seconds=now - first,
            dropped=self._prompt.dropped,
            tier=self._tier,
            context_length=self._window,
            embedding=self._embedding,
            ids=self._tokens_alone() if self._request.tells_ids else (),
            thought_tokens=self._thought_tokens,
            stop=self._text.stop,
        )
        return [*self._delta(rest, at_once=True), finished]

    def _tokens_alone(self) -> tuple[int, ...]:
        """The ids of its tokens, without a picture's rows, which nobody else can read."""
        return (*without_rows(self._ids), *self._end_token)

    def unsent(self) -> list[Event]:
        """Text still being gathered."""
        return self._delta(TextChunk(), at_once=True)

    def close(self) -> None:
        """Gives the context back; without effect when that has happened."""
        if not self.ended:
            self.ended = True
            if self._request.tells_prompt or self._context.is_stateless:
                self._live.cut(0)  # else read in other slices than a chat would have been
            self._context.contexts.release(
                self._live, self._context.vocabulary.token_runs(self._ids)
            )

    def _next_token(self, logits: Logits) -> list[Event]:
        if self._calls is not None:
            self._calls.limit(self._left)
        likely = None if self._request.top_logprobs is None else logprobs(logits)
        token = self._forced.popleft() if self._forced else self._sampler.choose(logits, self._ids)
        if token in self._context.vocabulary.end_ids:
            self._end_token = (token,)
            if likely is not None and self._request.tells_prompt:
                self._pending_logprobs.append(self._logprob_entry(token, likely))
            return self.end("stop")
        self._ids.append(token)
        was_thinking = self._text.is_thinking
        piece = self._text.feed(self._bytes(token))
        if was_thinking or self._text.is_thinking:
            self._think_on(was_thinking=was_thinking)
        elif likely is not None:
            self._pending_logprobs.append(self._logprob_entry(token, likely))
        events = self._delta(piece)
        if self._text.is_over or (self._rules is not None and self._rules.is_over):
            return [*events, *self.end("stop")]
        if self._left <= 0:
            return [*events, *self.end("length")]
        return events

    @property
    def _left(self) -> int:
        """Count the tokens that may still come."""
        made = len(self._ids) - len(self._prompt.tokens)
        return min(self._request.max_tokens - made, self._window - len(self._ids))

    def _bytes(self, token: int) -> bytes:
        """Bytes of a token, the markers of thoughts and calls included."""
        marker = None if self._thinking is None else self._thinking.markers.get(token)
        if marker is None and self._calls is not None:
            marker = self._calls.calling.markers.get(token)
        return self._context.vocabulary.token_bytes(token) if marker is None else marker

    def _think_on(self, *, was_thinking: bool) -> None:
        """Count a token of the thought, end one that is as long as it may be, and hold the answer
        behind it to its grammar."""
        self._thought_tokens += 1
        if was_thinking and not self._text.is_thinking:
            self._sampler.follow((self._calls and self._calls.grammar) or self._grammar)
            self._force_call()
            return
        limit = self._request.max_thought_tokens
        if limit is not None and self._thought_tokens >= limit and not self._forced:
            assert self._thinking is not None  # noqa: S101 - else nothing would think
            self._forced.extend(self._thinking.closing)

    def _delta(self, piece: TextChunk, *, at_once: bool = False) -> list[Event]:
        """Gather text: every event wakes the parent on a core that makes tokens."""
        self._unsent += piece
        now = self._context.clock()
        if not self._unsent and not (at_once and self._pending_logprobs):
            return []
        if not at_once and now - self._sent_at < self._context.min_delta_interval:
            return []
        piece, self._unsent, self._sent_at = self._unsent, TextChunk(), now
        tokens, self._pending_logprobs = tuple(self._pending_logprobs), []
        count, self._sent = len(self._ids) - self._sent, len(self._ids)
        return [Delta(self._request.id, piece.answer, tokens, count, piece.thought, piece.calls)]

    def _logprob_entry(self, token: int, likely: NDArray[np.float64]) -> SampledToken:
        """Make the entry of a token: how likely it was, and what else was."""
        data, count = self._context.vocabulary.token_bytes, self._request.top_logprobs or 0
        others = top_k_indices(likely, count) if count else ()
        return SampledToken(
            tuple(data(token)),
            float(likely[token]),
            tuple(TokenLogprob(tuple(data(int(i))), float(likely[i])) for i in others),
        )
