"""Workload of the benchmark: its size, what it sends, its samples, and another busy process."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from app.bench.prompt_generator import FOLLOW_UP, PromptGenerator
from app.bench.targets import BenchRequest, ResponseTrace, Target, collect
from app.errors import RequestError
from app.models.model import Turn
from app.models.parameters import Sampling

# What was measured: numbers by the name of the figure, one for each time it was measured.


class Samples:
    def __init__(self) -> None:
        self.lists: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, key: str, value: float | None) -> None:
        """`value`: in seconds, bytes or tokens per second; None is nothing measured."""
        if value is not None:
            self.lists[key].append(value)

    def median(self, key: str) -> float | None:
        return statistics.median(self.lists[key]) if key in self.lists else None


# Another program that is busy: it spins on one core, as a build or a video call would.


# It says that it spins before it does, and ends by itself when its parent is gone.
SPIN = """
import os
parent = os.getppid()
os.write(1, b"spinning")
while os.getppid() == parent:
    pass
"""


@asynccontextmanager
async def busy_process() -> AsyncIterator[None]:
    """One process that keeps one core busy until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SPIN, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None  # noqa: S101 - asked for a pipe
        await process.stdout.read(1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


# How much is measured.


SHORT = 16
"""Tokens of an answer of which only the beginning counts."""


PARTS = ("speed", "chats", "busy", "pause")
"""What can be measured by itself, in the order of a round."""


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """concurrency: answers at once, 1 included; prompt, tokens: length of a long prompt and of an
    answer, in tokens; others: chats between leaving a chat and coming back; turns: of the answers
    at once, within a round; rounds: of all of it; parts: of `PARTS`, what is measured.
    """

    concurrency: tuple[int, ...] = (1, 2, 4, 8)
    prompt: int = 1536
    tokens: int = 128
    others: int = 12
    turns: int = 3
    rounds: int = 1
    parts: tuple[str, ...] = PARTS

    @property
    def longest_chat(self) -> int:
        """Tokens that the longest chat may come to: four turns and room for one more answer."""
        turns = 4
        return self.prompt + turns * (SHORT + 32) + self.tokens


# The workload: what users do at once and one after another, and how long they wait.
#
# All times are taken here, outside of what is measured, by the same clock for every target.


SETTLED = 16
"""Tokens a stream has made before somebody else comes with a long prompt."""

ProgressCallback = Callable[[str], None]


class Workload:
    """Workload of one target in one round. `sampling`: the same for every target."""

    def __init__(
        self, target: Target, plan: BenchConfig, texts: PromptGenerator, sampling: Sampling
    ) -> None:
        self._target = target
        self._plan = plan
        self._texts = texts
        self._sampling = sampling
        self._chats = 0

    async def measure_speed(self, samples: Samples, notify: ProgressCallback) -> None:
        """Measure one turn of answers at once."""
        for count in self._plan.concurrency:
            notify(f"{self._target.name}: {count} answer{'s' if count > 1 else ''} at once")
            samples.add(f"streams_{count}", await self.streams(count))

    async def measure_busy(self, samples: Samples, notify: ProgressCallback) -> None:
        """Measure one answer beside a program that keeps a core busy."""
        notify(f"{self._target.name}: one answer beside a busy program")
        await self.warm_up()
        async with busy_process():
            samples.add("competitor", await self.streams(1))

    async def measure_single(self, samples: Samples, notify: ProgressCallback) -> None:
        """Measure one undisturbed thread; for a target that has only one."""
        notify(f"{self._target.name}: alone with one thread")
        await self.warm_up()
        samples.add("one_thread", await self.streams(1))

    async def warm_up(self) -> None:
        """Make one short answer that is not measured. Raises WickError when there is none."""
        await self.streams(1, SHORT)

    async def streams(self, count: int, tokens: int | None = None) -> float:
        """Measure the tokens a second of `count` answers together, while all are being written."""
        wanted = tokens or self._plan.tokens
        tasks = [asyncio.create_task(self._stream(wanted)) for _ in range(count)]
        try:
            streams = await asyncio.gather(*tasks)
        finally:
            await _cancel(*tasks)
        start = max(stream[0].first for stream in streams)
        end = min(stream[-1].ended for stream in streams)
        if end <= start:  # some had to wait for others: then the whole counts, waiting included
            start = min(stream[0].first for stream in streams)
            end = max(stream[-1].ended for stream in streams)
        made = sum(answer.made(start, end) for stream in streams for answer in stream)
        return made / (end - start)

    async def _stream(self, tokens: int) -> list[ResponseTrace]:
        """Ask as one user until `tokens` are made: a model may stop where it likes."""
        question, answers = self._question(), list[ResponseTrace]()
        while (left := tokens - sum(answer.tokens for answer in answers)) > 0:
            answers.append(await self._request(question, left))
        return answers

    def _question(self) -> str:
        self._chats += 1
        return self._texts.question(self._chats)

    async def _request(
        self, question: str, tokens: int, enough: Callable[[ResponseTrace], bool] | None = None
    ) -> ResponseTrace:
        """Ask in a new chat. Raises RequestError when its answer has no text."""
        chat = BenchChat(self._target, question, self._sampling)
        answer = await chat.send(question, tokens, enough)
        if not answer.times:
            raise RequestError(f"{self._target.name} gave an empty answer to “{question}”")
        return answer

    async def measure_interference(self, samples: Samples, notify: ProgressCallback) -> None:
        """Send a long prompt while another answer is being written.

        Pauses between tokens are seen only where each comes by itself.
        """
        notify(f"{self._target.name}: a long prompt beside a running answer")
        await self.warm_up()
        samples.add("first_alone", (await self._begin(1))[1].first_after)
        question, streams = self._question(), list[ResponseTrace]()
        reading: asyncio.Task[tuple[BenchChat, ResponseTrace]] | None = None

        def look(answer: ResponseTrace) -> bool:
            nonlocal reading
            if reading is None and sum(len(a.times) for a in (*streams, answer)) >= SETTLED:
                reading = asyncio.create_task(self._begin(1))
            return reading is not None and reading.done()

        try:
            while reading is None or not reading.done():
                streams.append(await self._request(question, self._plan.prompt, look))
            _, read = await reading
        finally:
            if reading is not None:
                await _cancel(reading)
        pairs = [pair for answer in streams for pair in pairwise(answer.times)]
        before = [end - start for start, end in pairs if end <= read.asked_at]
        beside = [end - start for start, end in pairs if end > read.asked_at and start < read.first]
        samples.add("first_beside", read.first_after)
        if before and beside:
            samples.add("longest_pause", max(beside))
            samples.add("median_gap", statistics.median(before))

    async def measure_revisits(self, samples: Samples, notify: ProgressCallback) -> None:
        name, plan = self._target.name, self._plan
        notify(f"{name}: a new chat of {plan.prompt} tokens, and its second turn")
        chat, begun = await self._begin()
        self._add_first(samples, begun)
        samples.add("second_turn", (await chat.send(FOLLOW_UP)).first_after)
        before = self._target.memory()
        for number in range(1, plan.others + 1):
            notify(f"{name}: other chat {number} of {plan.others}")
            self._add_first(samples, (await self._begin())[1])
        after = self._target.memory()
        if before is not None and after is not None and plan.others:
            samples.add("memory_chat", (after - before) / plan.others)
        notify(f"{name}: back to the first chat")
        samples.add("revisit", (await chat.send(FOLLOW_UP)).first_after)
        if await self._target.restart():
            notify(f"{name}: back to it after a restart")
            samples.add("restart", (await chat.send(FOLLOW_UP)).first_after)

    async def _begin(self, tokens: int = SHORT) -> tuple[BenchChat, ResponseTrace]:
        """Begin a chat that no cache has seen; return it with its first answer."""
        self._chats += 1
        chat = BenchChat(self._target, f"bench-{self._chats}", self._sampling)
        text = self._texts.prompt(self._chats, self._plan.prompt)
        return chat, await chat.send(text, tokens)

    def _add_first(self, samples: Samples, answer: ResponseTrace) -> None:
        samples.add("cold", answer.first_after)
        read = answer.usage.prompt_tokens or self._plan.prompt
        samples.add("prefill", read / answer.first_after)


class BenchChat:
    """Chat of the workload. `send` continues it."""

    def __init__(self, target: Target, name: str, sampling: Sampling) -> None:
        self._target = target
        self._name = name
        self._sampling = sampling
        self._turns: tuple[Turn, ...] = ()

    async def send(
        self, text: str, tokens: int = SHORT, enough: Callable[[ResponseTrace], bool] | None = None
    ) -> ResponseTrace:
        turns = (*self._turns, Turn("user", text))
        answer = await collect(
            self._target, BenchRequest(self._name, turns, tokens, self._sampling), enough
        )
        self._turns = (*turns, Turn("assistant", answer.text))
        return answer


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
