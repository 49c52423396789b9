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
from tests.conversations.services import House, built
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
def patched(monkeypatch: pytest.MonkeyPatch) -> Callable[[House], None]:
    def patch(house: House) -> None:
        async def start(*_: object) -> ScriptedRunner:
            return house.runner

        monkeypatch.setattr(RunnerProcess, "start", start)

    return patch


async def after_restart(house: House, clock: Clock) -> Quotas:
    """Quotas as the next start would have them: from the database."""
    await house.quotas.tasks.drain(5)
    quotas = Quotas(house.asking._settings, house.db, lambda _: [], house.hub, clock)
    await quotas.load()
    return quotas


async def test_a_user_has_a_limit_of_answers_at_a_time(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, Clock(), requests_per_user=2, host="0.0.0.0") as house:
        patched(house)
        limits = house.quotas
        first = await house.ask("one", "client01", "0" * 16)
        house.pool.submit("tiny", Request(Generate(1 << 40, ()), 1, lambda _: None))
        with pytest.raises(LimitReached, match="2 of your answers are running") as reached:
            await house.asking.submit(house.prompt("two", "client02", "1" * 16))
        assert (reached.value.status, reached.value.retry_after) == (429, 5)
        with pytest.raises(LimitReached):
            house.pool.submit("tiny", Request(Generate(1 << 41, ()), 1, lambda _: None))
        assert await house.chats.get(1, "1" * 16) is None
        limits.ensure_allowed(2)  # another person has theirs
        await until(lambda: len(house.runner.sent) == 2)
        house.runner.say(finished(first))
        await house.ended(first)
        await house.asking.submit(house.prompt("two", "client02", "1" * 16))


async def test_a_single_user_has_no_limit_of_answers_at_a_time(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, Clock(), requests_per_user=1) as house:
        patched(house)
        first = await house.ask("one", "client01", "0" * 16)
        second = await house.ask("two", "client02", "1" * 16)
        assert first != second


async def test_the_tokens_of_a_day_are_counted_and_limited(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    clock = Clock()
    async with built(tmp_path, shelf, clock, daily_tokens=20) as house:
        patched(house)
        limits = house.quotas
        first = await house.ask("one", "client01")
        house.runner.say(finished(first, prompt=30, cached=20, completion=5))
        await house.ended(first)
        day = limits.allowance(1)
        assert day is not None
        assert day.sentence == (
            "15 of 20 tokens used today. The count resets at midnight, in 11 h 30 min."
        )
        second = await house.ask("two", "client02")
        house.runner.say(finished(second))
        await house.ended(second)
        with pytest.raises(LimitReached, match="at midnight, in 11 h 30 min") as reached:
            await house.asking.submit(house.prompt("three", "client03"))
        assert reached.value.retry_after == 11 * 3600 + 1800
        assert len(await house.path()) == 4  # nothing of it was saved
        again = await after_restart(house, clock)
        with pytest.raises(LimitReached):
            again.ensure_allowed(1)
        again.ensure_allowed(2)
        clock.now += 12 * 3600
        again.ensure_allowed(1)
        assert again.allowance(1).used == 0  # type: ignore[union-attr]


async def test_a_clock_that_is_set_back_and_forth_forgets_no_tokens(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    clock = Clock()
    async with built(tmp_path, shelf, clock, daily_tokens=20) as house:
        patched(house)
        limits = house.quotas
        for number, days in enumerate((0, 30, 0, -1)):
            clock.now = NOON + days * 86400
            answer = await house.ask("one", f"client0{number}")
            house.runner.say(finished(answer, prompt=5, completion=4))
            await house.ended(answer)
        again = await after_restart(house, clock)  # while the clock is wrong
        for days, used in ((-1, 9), (0, 18), (30, 9)):
            clock.now = NOON + days * 86400
            for each in (limits, again):
                allowance = each.allowance(1)
                assert allowance is not None
                assert allowance.used == used


async def test_an_answer_ends_with_the_tokens_of_its_day_and_keeps_its_text(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, Clock(), daily_tokens=20) as house:
        patched(house)
        limits = house.quotas
        first = await house.ask("one", "client01")
        house.runner.say(Prefill(first, 18, 18, 6, 0), *[Delta(first, "word ") for _ in range(7)])
        await until(lambda: limits.allowance(1).used == 19)  # type: ignore[union-attr]
        assert Cancel(first) not in house.runner.sent
        house.runner.say(Delta(first, "more "), Delta(first, "and "))
        await until(lambda: Cancel(first) in house.runner.sent)
        assert house.runner.sent.count(Cancel(first)) == 1
        house.runner.say(
            replace(finished(first, prompt=18, cached=6, completion=9), reason="cancelled")
        )
        ended = await house.ended(first)
        assert ended.status == "interrupted"
        assert ended.text == "word " * 7 + "more and "
        assert ended.error == (
            "With this your 20 tokens for today are used up. You can continue at midnight, in "
            "11 h 30 min."
        )
        assert ended.completion_tokens == 9
        assert limits.allowance(1).used == 21  # type: ignore[union-attr]


async def test_a_used_up_day_ends_an_api_answer_as_its_token_limit_does(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    """What was written is not lost to who waits for the whole; without a word it is an error."""
    async with built(tmp_path, shelf, Clock(), daily_tokens=20) as house:
        patched(house)
        wish = Completions(house.pool, "tiny", [Generate(0, ()), Generate(0, ())], 1)
        wish.begin()
        await until(lambda: len(house.runner.sent) == 2)
        one, other = (command.id for command in house.runner.sent)
        house.runner.say(Delta(one, "word"), Prefill(other, 30, 30, 0, 0))
        await until(lambda: Cancel(other) in house.runner.sent)
        house.runner.say(Delta(one, "s"))
        await until(lambda: Cancel(one) in house.runner.sent)
        house.runner.say(replace(finished(other, completion=0), reason="cancelled"))
        house.runner.say(replace(finished(one, completion=2), reason="cancelled"))
        heard: dict[int, RequestEvent] = {}
        while not wish.is_over:
            index, event = await wish.next() or (0, None)
            if not isinstance(event, Delta | Prefill | None):
                heard[index] = event
        assert heard[0] == replace(finished(one, completion=2), reason="length")
        assert isinstance(heard[1], Interrupted)
        error = errors.of_event(heard[1], "messages")
        assert (error.status, error.code) == (429, "rate_limit_exceeded")


async def test_many_requests_at_once_do_not_avoid_a_quota(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, Clock(), requests_per_user=3, host="0.0.0.0") as house:
        patched(house)
        prompts = [house.prompt("x", f"client{n:02}", f"{n:016}") for n in range(10)]
        results = await asyncio.gather(*map(house.asking.submit, prompts), return_exceptions=True)
        assert sum(isinstance(r, LimitReached) for r in results) == 7
        assert house.hub.unfinished_count(1) == 3


async def test_without_a_quota_nobody_is_stopped(
    tmp_path: Path, shelf: ModelStore, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, Clock()) as house:
        patched(house)
        limits = house.quotas
        limits.record_usage(
            Request(Generate(1, ()), 1, lambda _: None), finished(1, completion=10**9)
        )
        limits.ensure_allowed(1)
        assert limits.allowance(1) is None
        await limits.tasks.drain(5)
