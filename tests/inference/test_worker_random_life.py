"""A worker's life in random orders: every request ends once, every step is in the table."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.errors import ModelBusy, ModelLoadError
from app.inference.dispatcher import Runner
from app.inference.lifecycle import ProgressCallback
from app.inference.model_state import TRANSITIONS, ModelState
from app.inference.protocol import Cancel, Command, Delta, Failed, Finished, Generate, Prefill
from app.inference.queue import Interrupted
from tests.inference.scripted import ScriptedRunner
from tests.inference.stage import Ear, Stage, request
from tests.patience import PATIENCE

SLOTS = 2
SHOWN_STEPS = {
    shown: {
        new.shown
        for state in ModelState
        if state.shown is shown
        for new in TRANSITIONS[state].values()
    }
    for shown in ModelState
}


class FaithfulRunner(ScriptedRunner):
    """Runner that knows what it owes: each request it was sent, and whether that was cancelled.

    given_up: requests that were cancelled anywhere, of which none may come any more.
    """

    def __init__(self, given_up: set[int]) -> None:
        super().__init__(slots=SLOTS)
        self.given_up = given_up
        self.owed: dict[int, bool] = {}

    def send(self, command: Command) -> None:
        super().send(command)
        if isinstance(command, Generate):
            assert command.id not in {*self.owed, *self.given_up}
            self.owed[command.id] = False
            assert len(self.owed) <= SLOTS
        elif isinstance(command, Cancel) and command.id in self.owed:
            self.owed[command.id] = True

    def end(self, number: int) -> None:
        reason = "cancelled" if self.owed.pop(number) else "stop"
        self.say(Finished(number, reason, 5, 0, 3, 0.1, 0.1, 0))  # type: ignore[arg-type]


class RandomStage(Stage):
    """Stage with a new runner for every load, which fails while `is_broken`."""

    def __init__(self) -> None:
        self.is_broken = False
        self.runners: list[FaithfulRunner] = []
        self.given_up: set[int] = set()
        super().__init__(limit=1000, slots=SLOTS, keep_alive=60.0)

    async def _load(self, notify: ProgressCallback) -> Runner:
        self.tell = notify
        await self.may_load.wait()
        if self.is_broken:
            raise ModelLoadError("It is damaged.")
        self.runners.append(FaithfulRunner(self.given_up))
        return self.runners[-1]


def endings(ear: Ear) -> int:
    return sum(isinstance(event, Finished | Failed | Interrupted) for event in ear.heard)


class WorkerLife(RuleBasedStateMachine):
    """Everything that people, programs, timers and accidents do to a worker, in any order."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.Runner()
        self.ears: dict[int, Ear] = {}
        self.background: set[int] = set()
        self.unloads: list[asyncio.Task[None]] = []
        self.run(self._begin())

    async def _begin(self) -> None:
        self.stage = RandomStage()

    def run(self, steps: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await steps

        self.loop.run(bounded())

    @property
    def runner(self) -> FaithfulRunner | None:
        """The one that lives; there are never two."""
        alive = [runner for runner in self.stage.runners if not runner.is_dead]
        assert len(alive) <= 1
        return alive[0] if alive else None

    @rule(turns=st.integers(1, 6))
    def let_it_go_on(self, turns: int) -> None:
        async def steps() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(steps())

    @rule(user=st.integers(1, 3), is_background=st.booleans())
    def submit(self, user: int, *, is_background: bool) -> None:
        async def steps() -> None:
            number = len(self.ears)
            self.ears[number] = Ear()
            if is_background:
                self.background.add(number)
            made = request(number, self.ears[number], user, is_background=is_background)
            self.stage.worker.submit(made)

        self.run(steps())

    @precondition(lambda self: self.ears)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.ears) - 1))
        self.run(self._call(self.stage.worker.cancel, number))
        self.stage.given_up.add(number)

    @rule()
    def load(self) -> None:
        self.run(self._call(self.stage.worker.load))

    @rule()
    def unload(self) -> None:
        async def steps() -> None:
            self.unloads.append(asyncio.create_task(self.stage.worker.unload()))
            await asyncio.sleep(0)

        self.run(steps())

    @rule()
    def give_way(self) -> None:
        self.run(self._call(self.stage.worker.unload_after_current))

    @rule()
    def need_not_give_way(self) -> None:
        self.run(self._call(self.stage.worker.cancel_unload))

    @rule()
    def change_settings(self) -> None:
        self.run(self._call(self.stage.worker.reload_when_idle))

    @rule(may_load=st.booleans(), is_broken=st.booleans())
    def change_the_next_load(self, *, may_load: bool, is_broken: bool) -> None:
        async def steps() -> None:
            self.stage.is_broken = is_broken
            self.stage.may_load.set() if may_load else self.stage.may_load.clear()

        self.run(steps())

    @rule(seconds=st.sampled_from([0.5, 5.0, 70.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.stage.now += seconds
        if timer := self.stage.timer():
            timer.is_cancelled = True  # it goes off once
            self.run(self._call(timer.go_off))

    @precondition(lambda self: self.runner is not None and self.runner.owed)
    @rule(data=st.data(), kind=st.sampled_from(["prefill", "delta", "end"]))
    def hear_from_the_runner(self, data: st.DataObject, kind: str) -> None:
        runner = self.runner
        assert runner is not None
        number = data.draw(st.sampled_from(sorted(runner.owed)))
        if kind == "end":
            runner.end(number)
        else:
            runner.say(Prefill(number, 1, 5, 0, 0) if kind == "prefill" else Delta(number, "x"))

    @precondition(lambda self: self.runner is not None)
    @rule()
    def kill_the_runner(self) -> None:
        assert self.runner is not None
        self.runner.die()

    @precondition(lambda self: self.runner is not None)
    @rule()
    def slow_the_runner_down(self) -> None:
        assert self.runner is not None
        self.runner.is_slow_to_quit = True

    @invariant()
    def its_task_lives_and_its_steps_are_in_the_table(self) -> None:
        if not hasattr(self, "stage"):
            return
        assert not self.stage.task.done()
        states = [ModelState.IDLE, *map(ModelState, self.stage.changes)]
        steps = [pair for pair in pairwise(states) if pair[0] != pair[1]]
        assert all(new in SHOWN_STEPS[old] for old, new in steps)

    @invariant()
    def no_request_ends_twice(self) -> None:
        assert all(endings(ear) <= 1 for ear in getattr(self, "ears", {}).values())

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.run(self._end())
        finally:
            self.loop.close()

    async def _end(self) -> None:
        """Let everything go well from now on: then all that people wait for ends by itself."""
        self.stage.is_broken = False
        self.stage.may_load.set()
        people = [ear for number, ear in self.ears.items() if number not in self.background]
        try:
            while not all(map(endings, people)) or not all(task.done() for task in self.unloads):
                await self._work()
        finally:
            await self._work()
            await self.stage.end()
        assert [endings(ear) for ear in self.ears.values()] == [1] * len(self.ears)
        assert not self.stage.worker.state.is_loaded
        assert self.runner is None
        for task in self.unloads:
            with contextlib.suppress(ModelBusy):
                task.result()

    async def _work(self) -> None:
        """Let the runner answer what it was sent, or quit as it was told."""
        if self.runner is not None:
            for number in list(self.runner.owed):
                self.runner.end(number)
            if self.stage.worker.state is ModelState.UNLOADING:
                self.runner.die()
        await asyncio.sleep(0)

    @staticmethod
    async def _call(function: Any, *arguments: Any) -> None:
        function(*arguments)


TestWorkerLife = WorkerLife.TestCase
TestWorkerLife.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
