"""Pauses of an answer of SmolLM2's while something else works."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import httpx
import psutil

ANSWER_TOKENS: Final = 300


@dataclass(frozen=True, slots=True)
class AnswerPauses:
    """seconds: between two parts of an answer, in order of length; others: cores that other
    programs kept busy meanwhile, which lengthen pauses; works: how often the work was done.
    """

    seconds: list[float]
    others: float
    works: int


async def answer_pauses(
    http: httpx.AsyncClient, work: Callable[[], Awaitable[None]] | None
) -> AnswerPauses:
    """Measure an answer, while `work` is done again and again."""
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": "Tell me a long story about the sea."}],
        "stream": True,
        "max_tokens": ANSWER_TOKENS,
        "ignore_eos": True,
    }
    times, works = list[float](), 0

    async def repeat() -> None:
        nonlocal works
        while work is not None:
            await work()
            works += 1

    working: asyncio.Task[None] | None = None
    began, busy, own = time.monotonic(), _busy_seconds(), _own_seconds()
    async with http.stream("POST", "/v1/chat/completions", json=body) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["choices"]:
                times.append(time.monotonic())
                working = working or asyncio.create_task(repeat())
    used = _busy_seconds() - busy - (_own_seconds() - own)
    others = max(0.0, used) / (time.monotonic() - began)
    if working is not None:
        working.cancel()
        ended = await asyncio.gather(working, return_exceptions=True)
        failed = [one for one in ended if isinstance(one, Exception)]
        if failed:
            raise failed[0]
    return AnswerPauses(sorted(b - a for a, b in pairwise(times)), others, works)


def describe_pauses(pauses: AnswerPauses) -> str:
    longest = ", ".join(f"{seconds * 1000:.0f}" for seconds in reversed(pauses.seconds[-3:]))
    return (
        f"{len(pauses.seconds)} parts, {pauses.works} works, longest pauses {longest} ms "
        f"(other programs used {pauses.others:.2f} cores)"
    )


def _busy_seconds() -> float:
    """CPU seconds of all programs of this machine so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _own_seconds() -> float:
    """CPU seconds of this process and its children so far, those that have ended included."""
    total = 0.0
    here = psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        total += times.children_user + times.children_system
    return total
