"""What one person may have: requests on their way, and the tokens of a day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from app.conversations.quotas import Quotas
from app.errors import LimitReached
from app.inference.completions import Completions
from app.inference.process import RunnerProcess
from app.inference.protocol import Cancel, Delta, Finished, Generate, Prefill
from app.inference.queue import Interrupted, Request, RequestEvent
from app.models.store import ModelStore
from app.web import errors
from tests.conversations.services import ScriptedServices, built
from tests.inference.scripted import ScriptedRunner
from tests.patience import until

NOON = datetime(2026, 11, 25, 12, 30).timestamp()


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


def finished(number: int, prompt: int = 10, cached: int = 0, completion: int = 5) -> Finished:
    return Finished(number, "stop", prompt, cached, completion, 0.1, 0.1, 0)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedServices], None]:
    def patch(services: ScriptedServices) -> None:
        async def start(*_: object) -> ScriptedRunner:
            return services.runner

        monkeypatch.setattr(RunnerProcess, "start", start)

    return patch


async def after_restart(services: ScriptedServices, clock: Clock) -> Quotas:
    """Quotas as the next start would have them: from the database."""
    await services.quotas.tasks.drain(5)
    quotas = Quotas(services.answers._settings, services.db, lambda _: [], services.hub, clock)
    await quotas.load()
    return quotas


async def test_a_user_has_a_limit_of_answers_at_a_time(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    async with built(tmp_path, store, Clock(), requests_per_user=2, host="0.0.0.0") as services:
        patched(services)
        limits = services.quotas
        first = await services.ask("one", "client01", "0" * 16)
        services.pool.submit("tiny", Request(Generate(1 << 40, ()), 1, lambda _: None))
        with pytest.raises(LimitReached, match="2 of your answers are running") as reached:
            await services.answers.submit(services.prompt("two", "client02", "1" * 16))
        assert (reached.value.status, reached.value.retry_after) == (429, 5)
        with pytest.raises(LimitReached):
            services.pool.submit("tiny", Request(Generate(1 << 41, ()), 1, lambda _: None))
        assert await services.chats.get(1, "1" * 16) is None
        limits.ensure_allowed(2)  # another person has theirs
        await until(lambda: len(services.runner.sent) == 2)
        services.runner.say(finished(first))
        await services.ended(first)
        await services.answers.submit(services.prompt("two", "client02", "1" * 16))


async def test_a_single_user_has_no_limit_of_answers_at_a_time(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    async with built(tmp_path, store, Clock(), requests_per_user=1) as services:
        patched(services)
        first = await services.ask("one", "client01", "0" * 16)
        second = await services.ask("two", "client02", "1" * 16)
        assert first != second


async def test_the_tokens_of_a_day_are_counted_and_limited(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    clock = Clock()
    async with built(tmp_path, store, clock, daily_tokens=20) as services:
        patched(services)
        limits = services.quotas
        first = await services.ask("one", "client01")
        services.runner.say(finished(first, prompt=30, cached=20, completion=5))
        await services.ended(first)
        day = limits.allowance(1)
        assert day is not None
        assert day.sentence == (
            "15 of 20 tokens used today. The count resets at midnight, in 11 h 30 min."
        )
        second = await services.ask("two", "client02")
        services.runner.say(finished(second))
        await services.ended(second)
        with pytest.raises(LimitReached, match="at midnight, in 11 h 30 min") as reached:
            await services.answers.submit(services.prompt("three", "client03"))
        assert reached.value.retry_after == 11 * 3600 + 1800
        assert len(await services.path()) == 4  # nothing of it was saved
        again = await after_restart(services, clock)
        with pytest.raises(LimitReached):
            again.ensure_allowed(1)
        again.ensure_allowed(2)
        clock.now += 12 * 3600
        again.ensure_allowed(1)
        assert again.allowance(1).used == 0  # type: ignore[union-attr]


async def test_a_clock_that_is_set_back_and_forth_forgets_no_tokens(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    clock = Clock()
    async with built(tmp_path, store, clock, daily_tokens=20) as services:
        patched(services)
        limits = services.quotas
        for number, days in enumerate((0, 30, 0, -1)):
            clock.now = NOON + days * 86400
            answer = await services.ask("one", f"client0{number}")
            services.runner.say(finished(answer, prompt=5, completion=4))
            await services.ended(answer)
        again = await after_restart(services, clock)  # while the clock is wrong
        for days, used in ((-1, 9), (0, 18), (30, 9)):
            clock.now = NOON + days * 86400
            for each in (limits, again):
                allowance = each.allowance(1)
                assert allowance is not None
                assert allowance.used == used


async def test_an_answer_ends_with_the_tokens_of_its_day_and_keeps_its_text(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    async with built(tmp_path, store, Clock(), daily_tokens=20) as services:
        patched(services)
        limits = services.quotas
        first = await services.ask("one", "client01")
        services.runner.say(
            Prefill(first, 18, 18, 6, 0), *[Delta(first, "word ") for _ in range(7)]
        )
        await until(lambda: limits.allowance(1).used == 19)  # type: ignore[union-attr]
        assert Cancel(first) not in services.runner.sent
        services.runner.say(Delta(first, "more "), Delta(first, "and "))
        await until(lambda: Cancel(first) in services.runner.sent)
        assert services.runner.sent.count(Cancel(first)) == 1
        services.runner.say(
            replace(finished(first, prompt=18, cached=6, completion=9), reason="cancelled")
        )
        ended = await services.ended(first)
        assert ended.status == "interrupted"
        assert ended.text == "word " * 7 + "more and "
        assert ended.error == (
            "With this your 20 tokens for today are used up. You can continue at midnight, in "
            "11 h 30 min."
        )
        assert ended.completion_tokens == 9
        assert limits.allowance(1).used == 21  # type: ignore[union-attr]


async def test_a_used_up_day_ends_an_api_answer_as_its_token_limit_does(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    """What was written is not lost to who waits for the whole; without a word it is an error."""
    async with built(tmp_path, store, Clock(), daily_tokens=20) as services:
        patched(services)
        completions = Completions(services.pool, "tiny", [Generate(0, ()), Generate(0, ())], 1)
        completions.begin()
        await until(lambda: len(services.runner.sent) == 2)
        one, other = (command.id for command in services.runner.sent)
        services.runner.say(Delta(one, "word"), Prefill(other, 30, 30, 0, 0))
        await until(lambda: Cancel(other) in services.runner.sent)
        services.runner.say(Delta(one, "s"))
        await until(lambda: Cancel(one) in services.runner.sent)
        services.runner.say(replace(finished(other, completion=0), reason="cancelled"))
        services.runner.say(replace(finished(one, completion=2), reason="cancelled"))
        heard: dict[int, RequestEvent] = {}
        while not completions.is_over:
            index, event = await completions.next() or (0, None)
            if not isinstance(event, Delta | Prefill | None):
                heard[index] = event
        assert heard[0] == replace(finished(one, completion=2), reason="length")
        assert isinstance(heard[1], Interrupted)
        error = errors.of_event(heard[1], "messages")
        assert (error.status, error.code) == (429, "rate_limit_exceeded")


async def test_many_requests_at_once_do_not_avoid_a_quota(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    async with built(tmp_path, store, Clock(), requests_per_user=3, host="0.0.0.0") as services:
        patched(services)
        prompts = [services.prompt("x", f"client{n:02}", f"{n:016}") for n in range(10)]
        results = await asyncio.gather(
            *map(services.answers.submit, prompts), return_exceptions=True
        )
        assert sum(isinstance(r, LimitReached) for r in results) == 7
        assert services.hub.unfinished_count(1) == 3


async def test_without_a_quota_nobody_is_stopped(
    tmp_path: Path, store: ModelStore, patched: Callable[[ScriptedServices], None]
) -> None:
    async with built(tmp_path, store, Clock()) as services:
        patched(services)
        limits = services.quotas
        limits.record_usage(
            Request(Generate(1, ()), 1, lambda _: None), finished(1, completion=10**9)
        )
        limits.ensure_allowed(1)
        assert limits.allowance(1) is None
        await limits.tasks.drain(5)
