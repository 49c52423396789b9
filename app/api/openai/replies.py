"""Completions as OpenAI's clients read them: whole or in chunks, with their usage."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from app.api import http
from app.inference.completions import Completions
from app.inference.protocol import Delta, Failed, Finished, SampledToken
from app.inference.queue import Interrupted
from app.web import errors

# Usage of answers, in tokens.


class PromptDetails(msgspec.Struct):
    """cached_tokens: those of the prompt that were still in memory from an earlier request."""

    cached_tokens: int


class CompletionDetails(msgspec.Struct):
    """reasoning_tokens: those of the completion that the model thought."""

    reasoning_tokens: int


class UsageObject(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def usage_of(ends: Sequence[Finished], prompts: int = 1) -> UsageObject:
    """Add up the usage of answers, the same number to each prompt. A prompt counts once.

    The answers to a prompt were read from the same memory: the least that one of them found there
    is what had been kept.
    """
    each = len(ends) // prompts
    alike = [ends[start : start + each] for start in range(0, len(ends), each)]
    read = sum(answers[0].prompt_tokens for answers in alike)
    cached = sum(min(answer.cached_tokens for answer in answers) for answers in alike)
    written = sum(end.completion_tokens for end in ends)
    thought = CompletionDetails(sum(end.thought_tokens for end in ends))
    return UsageObject(read, written, read + written, PromptDetails(cached), thought)


# Answers, whole or in chunks while they are generated.


class ChunkFormatter(Protocol):
    """Formatter of the parts of an answer. `begin` is empty where nothing stands first; `param`:
    the field of the request that has the prompt."""

    @property
    def param(self) -> str: ...
    @property
    def id_prefix(self) -> str: ...
    @property
    def whole(self) -> str: ...
    @property
    def part(self) -> str: ...
    def begin(self, index: int) -> dict[str, Any]: ...
    def delta(self, index: int, delta: Delta) -> dict[str, Any]: ...
    def end(self, index: int, finished: Finished) -> dict[str, Any]: ...
    def choice(self, index: int, whole: Delta, finished: Finished) -> dict[str, Any]: ...


@dataclass(slots=True)
class CompletionResponse:
    """`count` answers of `model` to `prompts` prompts; `path`: the path of the request; `best`:
    how many of the answers to each prompt are given, None for all."""

    completions: Completions
    formatter: ChunkFormatter
    model: str
    count: int
    path: str
    wants_usage: bool = False
    prompts: int = 1
    best: int | None = None

    async def whole(self) -> dict[str, Any]:
        """Raises ApiError."""
        deltas = [list[Delta]() for _ in range(self.count)]
        ends: dict[int, Finished] = {}
        while not self.completions.is_over:
            match await self.completions.next():
                case (index, Delta() as delta):
                    deltas[index].append(delta)
                case (index, Finished() as finished):
                    ends[index] = finished
                case (_, Failed() | Interrupted() as failed):
                    self.completions.cancel()
                    raise errors.of_event(failed, self.formatter.param)
        answers = [Delta.joined(one) for one in deltas]
        choices = [
            self.formatter.choice(place, answers[index], ends[index])
            for place, index in enumerate(self._best([answer.tokens for answer in answers]))
        ]
        return self._frame(self.formatter.whole) | {"choices": choices, "usage": self._usage(ends)}

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Stream server-sent events, one for each delta."""
        try:
            frame = self._frame(self.formatter.part) | ({"usage": None} if self.wants_usage else {})
            ends: dict[int, Finished] = {}
            for index in range(self.count):
                if first := self.formatter.begin(index):
                    yield http.event(frame | {"choices": [first]})
            due = time.monotonic() + http.KEEP_ALIVE_SECONDS
            while not self.completions.is_over:
                match await self.completions.next(due - time.monotonic()):
                    case (index, Delta() as delta):
                        more = self.formatter.delta(index, delta)
                        yield http.event(frame | {"choices": [more]})
                    case (index, Finished() as finished):
                        ends[index] = finished
                        end = self.formatter.end(index, finished)
                        yield http.event(frame | {"choices": [end]})
                    case (_, Failed() | Interrupted() as failed):
                        error = errors.of_event(failed, self.formatter.param)
                        yield http.error_event(error, self.path)
                        return
                    case _ if time.monotonic() < due:  # an event that this protocol does not have
                        continue
                    case _:
                        yield http.COMMENT
                due = time.monotonic() + http.KEEP_ALIVE_SECONDS
            if self.wants_usage:
                yield http.event(frame | {"choices": [], "usage": self._usage(ends)})
            yield b"data: [DONE]\n\n"
        finally:
            self.completions.cancel()

    def _best(self, tokens: Sequence[Sequence[SampledToken]]) -> list[int]:
        """Choose the answers to return: of each prompt's those with the likeliest tokens."""
        if self.best is None:
            return list(range(self.count))
        each = self.count // self.prompts
        chosen: list[int] = []
        for start in range(0, self.count, each):
            answers = range(start, start + each)
            chosen += sorted(answers, key=lambda i: -_likelihood(tokens[i]))[: self.best]
        return chosen

    def _usage(self, ends: Mapping[int, Finished]) -> UsageObject:
        return usage_of([ends[index] for index in range(self.count)], self.prompts)

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self.formatter.id_prefix}{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
        }


def _likelihood(tokens: Sequence[SampledToken]) -> float:
    """Mean log probability of the tokens."""
    known = [token.logprob for token in tokens if token.logprob is not None]
    return sum(known) / len(known) if known else -math.inf


def reason_of(finished: Finished) -> str:
    return finished.reason if finished.reason in {"length", "tool_calls"} else "stop"
