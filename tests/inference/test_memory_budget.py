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


class Model:
    """A tenant that leaves at once when it is idle, else when the test ends its work."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
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
        choice = await self.machine.room.reserve(
            self.name, [{MAIN: size} for size in choices], self.sentences.append, wanted
        )
        if choice is not None:
            self.machine.clock += 1
            self.state, self.must_leave = ModelState.READY, False
            self.last_used = self.machine.clock
        return choice

    def finish(self) -> None:
        self.is_busy = False
        if self.must_leave:
            self.leave()
        self.machine.room.notify()

    def leave(self) -> None:
        self.state = ModelState.IDLE
        self.machine.room.release(self.name)


class Machine:
    def __init__(self, budget: int, names: str) -> None:
        self.clock = 0.0
        self.models = {name: Model(self, name) for name in names}
        self.room = MemoryBudget(budget, self.models.values)

    def __getitem__(self, name: str) -> Model:
        return self.models[name]

    def leaving(self) -> list[str]:
        return [g.name for g in self.models.values() if g.state == "unloading"]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def within(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def test_the_least_recently_used_models_leave_and_no_more_than_needed() -> None:
    machine = Machine(10, "abcd")
    for name in "abc":
        assert await machine[name].enter(3) == 0
    machine["a"].last_used = 9
    coming = asyncio.create_task(machine["d"].enter(4, 2))
    await settled()
    assert machine.leaving() == ["b"]
    assert machine["d"].sentences == ["Waiting for memory: another model is being unloaded"]
    machine["b"].leave()
    assert await within(coming) == 0
    assert (
        machine.room.free,
        machine.room.reserved_bytes("b"),
        machine.room.reserved_bytes("d"),
    ) == (
        0,
        0,
        4,
    )


async def test_a_model_takes_fewer_slots_before_it_waits_for_those_that_answer() -> None:
    machine = Machine(10, "ab")
    await machine["a"].enter(6)
    machine["a"].is_busy = True
    assert await within(machine["b"].enter(8, 6, 4, 2)) == 2
    assert not machine["a"].must_leave


async def test_a_load_says_for_which_models_it_waits_and_busy_ones_leave_in_the_end() -> None:
    machine = Machine(10, "abc")
    await machine["a"].enter(5)
    await machine["b"].enter(5)
    machine["a"].is_busy = machine["b"].is_busy = True
    coming = asyncio.create_task(machine["c"].enter(6, 4))
    await settled()
    assert machine["c"].sentences == ["Waiting for memory: a is answering"]
    assert (machine["a"].must_leave, machine["b"].must_leave) == (True, False)
    machine["a"].finish()
    assert await within(coming) == 1
    assert machine["b"].state == "ready"


async def test_the_model_that_becomes_idle_first_leaves_and_the_other_stays() -> None:
    machine = Machine(10, "abc")
    await machine["a"].enter(5)
    await machine["b"].enter(5)
    machine["a"].is_busy = machine["b"].is_busy = True
    coming = asyncio.create_task(machine["c"].enter(4))
    await settled()
    machine["b"].finish()
    await settled()
    assert machine.leaving() == ["b"]
    machine["b"].leave()
    assert await within(coming) == 0
    assert not machine["a"].must_leave  # asked first, it need not any more


async def test_two_models_that_wait_for_each_other_take_turns() -> None:
    machine = Machine(10, "ab")
    await machine["a"].enter(8)
    machine["a"].is_busy = machine["b"].is_busy = True
    second = asyncio.create_task(machine["b"].enter(8))
    await settled()
    machine["a"].finish()  # and has more to do, so it comes again at once
    third = asyncio.create_task(machine["a"].enter(8))
    assert await within(second) == 0
    await settled()
    assert machine["a"].sentences[-1] == "Waiting for memory: b is answering"
    machine["b"].finish()
    assert await within(third) == 0


async def test_a_model_that_is_not_wanted_any_more_gives_up_its_place() -> None:
    machine = Machine(10, "abc")
    await machine["a"].enter(8)
    machine["a"].is_busy = True
    is_needed = True
    given_up = asyncio.create_task(machine["b"].enter(8, wanted=lambda: is_needed))
    behind = asyncio.create_task(machine["c"].enter(2))
    await settled()
    assert machine["c"].sentences == ["Waiting for memory: b comes first"]
    is_needed = False
    machine.room.notify()
    assert await within(given_up) is None
    assert await within(behind) == 0
    assert not machine["a"].must_leave


async def test_a_model_that_gives_up_behind_another_takes_nothing_back() -> None:
    machine = Machine(10, "abc")
    await machine["a"].enter(8)
    machine["a"].is_busy = True
    first = asyncio.create_task(machine["b"].enter(8))
    behind = asyncio.create_task(machine["c"].enter(2))
    await settled()
    behind.cancel()
    await settled()
    assert machine["a"].must_leave
    machine["a"].finish()
    assert await within(first) == 0


async def test_a_cancelled_wait_lets_the_next_one_in() -> None:
    machine = Machine(10, "abc")
    await machine["a"].enter(8)
    machine["a"].is_busy = True
    first = asyncio.create_task(machine["b"].enter(8))
    behind = asyncio.create_task(machine["c"].enter(2))
    await settled()
    first.cancel()
    assert await within(behind) == 0


async def enter(machine: Machine, name: str, *choices: dict[str, int]) -> int | None:
    model = machine[name]
    choice = await machine.room.reserve(name, choices, model.sentences.append, lambda: True)
    if choice is not None:
        machine.clock += 1
        model.state, model.last_used = ModelState.READY, machine.clock
    return choice


async def test_only_a_model_on_the_device_that_is_short_leaves_for_another() -> None:
    machine = Machine(100, "abcd")
    machine.room.set_devices({"CUDA0": 10, "CUDA1": 10})
    assert await enter(machine, "a", {MAIN: 10}) == 0
    assert await enter(machine, "b", {MAIN: 1, "CUDA0": 8}) == 0
    assert await enter(machine, "c", {MAIN: 1, "CUDA1": 8}) == 0
    coming = asyncio.create_task(enter(machine, "d", {MAIN: 1, "CUDA1": 5}))
    await settled()
    assert machine.leaving() == ["c"]
    machine["c"].leave()
    assert await within(coming) == 0
    assert [machine.room.free_on(m) for m in (MAIN, "CUDA0", "CUDA1")] == [88, 2, 5]


async def test_while_a_device_is_busy_a_model_is_loaded_beside_it() -> None:
    machine = Machine(100, "ab")
    machine.room.set_devices({"CUDA0": 10})
    await enter(machine, "a", {MAIN: 1, "CUDA0": 8})
    machine["a"].is_busy = True
    chosen = await within(enter(machine, "b", {MAIN: 1, "CUDA0": 8}, {MAIN: 9}))
    assert chosen == 1
    assert not machine["a"].must_leave


def test_memory_needs_that_can_ever_fit() -> None:
    room = Machine(100, "").room
    room.set_devices({"CUDA0": 10})
    fit = [{MAIN: 100}, {MAIN: 1, "CUDA0": 10}]
    too_large = [{MAIN: 101}, {MAIN: 1, "CUDA0": 11}, {MAIN: 1, "CUDA1": 1}]
    assert [room.can_ever_fit(need) for need in (*fit, *too_large)] == [True] * 2 + [False] * 3


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 10)), max_size=25))
def test_the_budget_holds_and_every_model_gets_in_whatever_the_order(
    requests: list[tuple[str, int]],
) -> None:
    async def live() -> None:
        machine = Machine(10, "abcd")
        tasks: dict[str, asyncio.Task[int | None]] = {}
        for name, size in requests:
            model = machine[name]
            if model.state == "idle" and (name not in tasks or tasks[name].done()):
                model.is_busy = True
                tasks[name] = asyncio.create_task(model.enter(size, (size + 1) // 2))
            await settled()
            assert machine.room.free >= 0
        for _ in range(20):
            for model in machine.models.values():
                if model.state == "ready":
                    model.finish()
                if model.state == "unloading":
                    model.leave()
            await settled()
            assert machine.room.free >= 0
        assert all(task.done() for task in tasks.values())

    asyncio.run(live())
