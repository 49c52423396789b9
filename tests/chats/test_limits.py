"""What one person may have: requests on their way, and the tokens of a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from app.chats.limits import Limits
from app.errors import LimitReached
from app.inference.protocol import Finished, Generate
from app.inference.requests import Request
from app.inference.runner_process import RunnerProcess
from app.models.shelf import Shelf
from tests.chats.house import House, built, until
from tests.inference.scripted import ScriptedRunner

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


def limits_of(house: House, clock: Clock) -> Limits:
    limits = Limits(house.asking._settings, house.db, house.pool, house.hub, clock)
    house.asking._limits = limits
    return limits


async def test_a_person_has_so_many_answers_at_a_time(
    tmp_path: Path, shelf: Shelf, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, requests_per_user=2, host="0.0.0.0") as house:
        patched(house)
        limits = limits_of(house, Clock())
        await limits.load()
        first = await house.ask("one", "client01", "0" * 16)
        house.pool.submit("tiny", Request(Generate(1 << 40, ()), 1, lambda _: None))
        with pytest.raises(LimitReached, match="2 of your answers are on their way") as reached:
            await house.asking.submit(house.prompt("two", "client02", "1" * 16))
        assert (reached.value.status, reached.value.retry_after) == (429, 5)
        with pytest.raises(LimitReached):
            house.pool.submit("tiny", Request(Generate(1 << 41, ()), 1, lambda _: None))
        assert await house.chats.find(1, "1" * 16) is None
        limits.check(2)  # another person has theirs
        await until(lambda: len(house.runner.sent) == 2)
        house.runner.say(finished(first))
        await house.ended(first)
        await house.asking.submit(house.prompt("two", "client02", "1" * 16))


async def test_who_is_alone_takes_nobodys_turn(
    tmp_path: Path, shelf: Shelf, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf, requests_per_user=1) as house:
        patched(house)
        await limits_of(house, Clock()).load()
        await house.ask("one", "client01", "0" * 16)
        await house.ask("two", "client02", "1" * 16)


async def test_the_tokens_of_a_day_are_counted_and_end(
    tmp_path: Path, shelf: Shelf, patched: Callable[[House], None]
) -> None:
    clock = Clock()
    async with built(tmp_path, shelf, daily_tokens=20) as house:
        patched(house)
        limits = limits_of(house, clock)
        await limits.load()
        first = await house.ask("one", "client01")
        house.runner.say(finished(first, prompt=30, cached=20, completion=5))
        await house.ended(first)
        day = limits.allowance(1)
        assert day is not None
        assert day.sentence == (
            "15 of 20 tokens used today. The count begins anew at midnight, in 11 h 30 min."
        )
        second = await house.ask("two", "client02")
        house.runner.say(finished(second))
        await house.ended(second)
        with pytest.raises(LimitReached, match="at midnight, in 11 h 30 min") as reached:
            await house.asking.submit(house.prompt("three", "client03"))
        assert reached.value.retry_after == 11 * 3600 + 1800
        assert len(await house.path()) == 4  # nothing of it was saved
        await limits.tasks.drain(5)
        again = limits_of(house, clock)  # after a restart
        await again.load()
        with pytest.raises(LimitReached):
            again.check(1)
        again.check(2)
        clock.now += 12 * 3600
        again.check(1)
        assert again.allowance(1).used == 0  # type: ignore[union-attr]


async def test_without_a_quota_nobody_is_stopped(
    tmp_path: Path, shelf: Shelf, patched: Callable[[House], None]
) -> None:
    async with built(tmp_path, shelf) as house:
        patched(house)
        limits = limits_of(house, Clock())
        await limits.load()
        limits.count(Request(Generate(1, ()), 1, lambda _: None), finished(1, completion=10**9))
        limits.check(1)
        assert limits.allowance(1) is None
        await limits.tasks.drain(5)
