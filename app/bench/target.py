"""What a workload runs against: something that streams answers, Wick's runner or a server."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from app.models.model import Sampling, Turn


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """One request. `chat` names the chat it belongs to, for those who keep state by chat."""

    chat: str
    turns: tuple[Turn, ...]
    max_tokens: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The end of an answer, in tokens; None where a server does not tell."""

    prompt_tokens: int | None
    completion_tokens: int | None


class Target(Protocol):
    @property
    def name(self) -> str: ...

    def answer(self, ask: BenchRequest) -> AsyncGenerator[str | TokenUsage]:
        """The pieces of the answer as they come, then its usage. Closing it cancels the request.

        Raises WickError when there is no whole answer.
        """

    async def restart(self) -> bool:
        """End and start again, with what outlives that; False when that cannot be done here."""

    def memory(self) -> int | None:
        """Bytes of memory in use (resident set), if that can be known."""


@dataclass(slots=True)
class ResponseTrace:
    """When what came. Times in seconds on one clock; `times` holds one for each piece of text,
    `sizes` its characters."""

    asked_at: float
    times: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    text: str = ""
    ended: float = 0.0
    usage: TokenUsage = TokenUsage(None, None)

    @property
    def first(self) -> float:
        """When the first token came; an empty answer ends with its first token."""
        return self.times[0] if self.times else self.ended

    @property
    def first_after(self) -> float:
        return self.first - self.asked_at

    @property
    def tokens(self) -> int:
        """As its maker counts them, else its pieces."""
        return self.usage.completion_tokens or len(self.times)

    def made(self, after: float, until: float) -> float:
        """Tokens that came in that time: a piece may hold several, as many as it is long."""
        pieces = zip(self.times, self.sizes, strict=True)
        came = sum(size for time, size in pieces if after < time <= until)
        return self.tokens * came / max(1, len(self.text))


async def collect(
    target: Target,
    ask: BenchRequest,
    enough: Callable[[ResponseTrace], bool] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ResponseTrace:
    """The answer to `ask`, cancelled when `enough`, called after each piece, says so."""
    answer = ResponseTrace(asked_at=clock())
    async with aclosing(target.answer(ask)) as pieces:
        async for piece in pieces:
            if isinstance(piece, TokenUsage):
                answer.usage = piece
                continue
            answer.times.append(clock())
            answer.sizes.append(len(piece))
            answer.text += piece
            if enough is not None and enough(answer):
                break
    answer.ended = clock()
    return answer
