"""Targets of a workload: their protocol, response traces, and the machine they run on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.config import available_cpus
from app.models.model import Turn
from app.models.parameters import Sampling

# How much memory a process has, and what machine this is.


def resident_memory(pid: int) -> int | None:
    """Bytes of the process that are in memory, mapped weights included; None if unknown."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    if not shutil.which("ps"):
        return None
    asked = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    text = asked.stdout.strip()
    return int(text) << 10 if text.isdigit() else None


def describe_machine() -> str:
    """The processor's name and the cores that may be used."""
    return f"{_processor()}, {available_cpus()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return next(filter(None, [*names, platform.processor()]), platform.machine())


# What a workload runs against: something that streams answers, Wick's runner or a server.


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """Request of the workload.

    `chat` names the chat it belongs to, for those who keep state by chat.
    """

    chat: str
    turns: tuple[Turn, ...]
    max_tokens: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Size of an answer in tokens; None where a server does not tell."""

    prompt_tokens: int | None
    completion_tokens: int | None


class Target(Protocol):
    @property
    def name(self) -> str: ...

    def answer(self, ask: BenchRequest) -> AsyncGenerator[str | TokenUsage]:
        """Yield the pieces of the answer as they come, then its usage.

        Closing it cancels the request.

        Raises WickError when there is no whole answer.
        """

    async def restart(self) -> bool:
        """End and start again, with what outlives that; False when that cannot be done here."""

    def memory(self) -> int | None:
        """Bytes of memory in use (resident set), if that can be known."""


@dataclass(slots=True)
class ResponseTrace:
    """Times at which an answer came, in seconds on one clock.

    `times` holds one for each piece of text, `sizes` its characters.
    """

    asked_at: float
    times: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    text: str = ""
    ended: float = 0.0
    usage: TokenUsage = TokenUsage(None, None)

    @property
    def first(self) -> float:
        """Time of the first token; an empty answer ends with its first token."""
        return self.times[0] if self.times else self.ended

    @property
    def first_after(self) -> float:
        return self.first - self.asked_at

    @property
    def tokens(self) -> int:
        """Count of tokens as the server gives it, else of pieces."""
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
    """Collect the answer to `ask`, cancelled when `enough`, called after each piece, says so."""
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
