"""Who gets memory, who leaves for it and who waits, with sizes that a test can add up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from app.inference.memory_budget import MAIN, MemoryBudget
from app.inference.model_state import ModelState
from tests.patience import PATIENCE

T = TypeVar("T")


class Guest:
    """A tenant that leaves at once when it is idle, else when the test ends its work."""

    def __init__(self, house: House, name: str) -> None:
        self.house = house
        self.name = name
        self.state = ModelState.IDLE
        self.last_used = 0.0
        self.is_busy = False
        self.must_leave = False
        self.sentences: list[str] = []

    def unload_after_current(self) -> None:
        self.must_leave = True
        if not self.is_busy and self.state is ModelState.READY:
            self.state = ModelState.UNLOADING

    def cancel_unload(self) -> None:
        self.must_leave = self.state is ModelState.UNLOADING

    async def enter(self, *choices: int, wanted: Callable[[], bool] = lambda: True) -> int | None:
        choice = await self.house.room.reserve(
            self.name, [{MAIN: size} for size in choices], self.sentences.append, wanted
        )
        if choice is not None:
            self.house.clock += 1
            self.state, self.must_leave = ModelState.READY, False
            self.last_used = self.house.clock
        return choice

    def finish(self) -> None:
        self.is_busy = False
        if self.must_leave:
            self.leave()
        self.house.room.notify()

    def leave(self) -> None:
        self.state = ModelState.IDLE
        self.house.room.release(self.name)


class House:
    def __init__(self, budget: int, names: str) -> None:
        self.clock = 0.0
        self.guests = {name: Guest(self, name) for name in names}
        self.room = MemoryBudget(budget, self.guests.values)

    def __getitem__(self, name: str) -> Guest:
        return self.guests[name]

    def leaving(self) -> list[str]:
        return [g.name for g in self.guests.values() if g.state == "unloading"]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def within(wish: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await wish


async def test_the_least_recently_used_models_leave_and_no_more_than_needed() -> None:
    house = House(10, "abcd")
    for name in "abc":
        assert await house[name].enter(3) == 0
    house["a"].last_used = 9
    coming = asyncio.create_task(house["d"].enter(4, 2))
    await settled()
    assert house.leaving() == ["b"]
    assert house["d"].sentences == ["Waiting for memory: another model is being unloaded"]
    house["b"].leave()
    assert await within(coming) == 0
    assert (house.room.free, house.room.reserved_bytes("b"), house.room.reserved_bytes("d")) == (
        0,
        0,
        4,
    )


async def test_a_model_takes_fewer_slots_before_it_waits_for_those_that_answer() -> None:
    house = House(10, "ab")
    await house["a"].enter(6)
    house["a"].is_busy = True
    assert await within(house["b"].enter(8, 6, 4, 2)) == 2
    assert not house["a"].must_leave


async def test_a_load_says_for_which_models_it_waits_and_busy_ones_leave_in_the_end() -> None:
    house = House(10, "abc")
    await house["a"].enter(5)
    await house["b"].enter(5)
    house["a"].is_busy = house["b"].is_busy = True
    coming = asyncio.create_task(house["c"].enter(6, 4))
    await settled()
    assert house["c"].sentences == ["Waiting for memory: a is answering"]
    assert (house["a"].must_leave, house["b"].must_leave) == (True, False)
    house["a"].finish()
    assert await within(coming) == 1
    assert house["b"].state == "ready"


async def test_the_model_that_becomes_idle_first_leaves_and_the_other_stays() -> None:
    house = House(10, "abc")
    await house["a"].enter(5)
    await house["b"].enter(5)
    house["a"].is_busy = house["b"].is_busy = True
    coming = asyncio.create_task(house["c"].enter(4))
    await settled()
    house["b"].finish()
    await settled()
    assert house.leaving() == ["b"]
    house["b"].leave()
    assert await within(coming) == 0
    assert not house["a"].must_leave  # asked first, it need not any more


async def test_two_models_that_wait_for_each_other_take_turns() -> None:
    house = House(10, "ab")
    await house["a"].enter(8)
    house["a"].is_busy = house["b"].is_busy = True
    second = asyncio.create_task(house["b"].enter(8))
    await settled()
    house["a"].finish()  # and has more to do, so it comes again at once
    third = asyncio.create_task(house["a"].enter(8))
    assert await within(second) == 0
    await settled()
    assert house["a"].sentences[-1] == "Waiting for memory: b is answering"
    house["b"].finish()
    assert await within(third) == 0


async def test_a_model_that_is_not_wanted_any_more_gives_up_its_place() -> None:
    house = House(10, "abc")
    await house["a"].enter(8)
    house["a"].is_busy = True
    is_wanted = True
    given_up = asyncio.create_task(house["b"].enter(8, wanted=lambda: is_wanted))
    behind = asyncio.create_task(house["c"].enter(2))
    await settled()
    assert house["c"].sentences == ["Waiting for memory: b comes first"]
    is_wanted = False
    house.room.notify()
    assert await within(given_up) is None
    assert await within(behind) == 0
    assert not house["a"].must_leave


async def test_a_model_that_gives_up_behind_another_takes_nothing_back() -> None:
    house = House(10, "abc")
    await house["a"].enter(8)
    house["a"].is_busy = True
    first = asyncio.create_task(house["b"].enter(8))
    behind = asyncio.create_task(house["c"].enter(2))
    await settled()
    behind.cancel()
    await settled()
    assert house["a"].must_leave
    house["a"].finish()
    assert await within(first) == 0


async def test_a_cancelled_wait_lets_the_next_one_in() -> None:
    house = House(10, "abc")
    await house["a"].enter(8)
    house["a"].is_busy = True
    first = asyncio.create_task(house["b"].enter(8))
    behind = asyncio.create_task(house["c"].enter(2))
    await settled()
    first.cancel()
    assert await within(behind) == 0


async def enter(house: House, name: str, *choices: dict[str, int]) -> int | None:
    guest = house[name]
    choice = await house.room.reserve(name, choices, guest.sentences.append, lambda: True)
    if choice is not None:
        house.clock += 1
        guest.state, guest.last_used = ModelState.READY, house.clock
    return choice


async def test_only_a_model_on_the_device_that_is_short_leaves_for_another() -> None:
    house = House(100, "abcd")
    house.room.set_devices({"CUDA0": 10, "CUDA1": 10})
    assert await enter(house, "a", {MAIN: 10}) == 0
    assert await enter(house, "b", {MAIN: 1, "CUDA0": 8}) == 0
    assert await enter(house, "c", {MAIN: 1, "CUDA1": 8}) == 0
    coming = asyncio.create_task(enter(house, "d", {MAIN: 1, "CUDA1": 5}))
    await settled()
    assert house.leaving() == ["c"]
    house["c"].leave()
    assert await within(coming) == 0
    assert [house.room.free_on(m) for m in (MAIN, "CUDA0", "CUDA1")] == [88, 2, 5]


async def test_while_a_device_is_busy_a_model_is_loaded_beside_it() -> None:
    house = House(100, "ab")
    house.room.set_devices({"CUDA0": 10})
    await enter(house, "a", {MAIN: 1, "CUDA0": 8})
    house["a"].is_busy = True
    chosen = await within(enter(house, "b", {MAIN: 1, "CUDA0": 8}, {MAIN: 9}))
    assert chosen == 1
    assert not house["a"].must_leave


def test_what_can_ever_fit() -> None:
    room = House(100, "").room
    room.set_devices({"CUDA0": 10})
    fit = [{MAIN: 100}, {MAIN: 1, "CUDA0": 10}]
    too_large = [{MAIN: 101}, {MAIN: 1, "CUDA0": 11}, {MAIN: 1, "CUDA1": 1}]
    assert [room.can_ever_fit(need) for need in (*fit, *too_large)] == [True] * 2 + [False] * 3


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 10)), max_size=25))
def test_the_budget_holds_and_every_model_gets_in_whatever_the_order(
    wishes: list[tuple[str, int]],
) -> None:
    async def live() -> None:
        house = House(10, "abcd")
        tasks: dict[str, asyncio.Task[int | None]] = {}
        for name, size in wishes:
            guest = house[name]
            if guest.state == "idle" and (name not in tasks or tasks[name].done()):
                guest.is_busy = True
                tasks[name] = asyncio.create_task(guest.enter(size, (size + 1) // 2))
            await settled()
            assert house.room.free >= 0
        for _ in range(20):
            for guest in house.guests.values():
                if guest.state == "ready":
                    guest.finish()
                if guest.state == "unloading":
                    guest.leave()
            await settled()
            assert house.room.free >= 0
        assert all(task.done() for task in tasks.values())

    asyncio.run(live())
