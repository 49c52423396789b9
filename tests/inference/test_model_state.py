"""States of a model's life: the table of steps, and races between them in a worker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from app.errors import ModelBusy, ModelLoadError
from app.inference.model_state import TRANSITIONS, IllegalTransition, ModelState, next_state
from app.inference.protocol import Failed, Finished
from app.inference.queue import Interrupted
from tests.inference.scripted import ScriptedRunner
from tests.inference.stage import Ear, Stage, finished, request

Staged = Callable[..., Stage]


@pytest.mark.parametrize(("current", "new"), list(itertools.product(ModelState, ModelState)))
def test_only_steps_of_the_table_are_taken(current: ModelState, new: ModelState) -> None:
    if new in TRANSITIONS[current]:
        assert next_state(current, new) is new
    else:
        with pytest.raises(IllegalTransition, match=f"{current} cannot become {new}"):
            next_state(current, new)


@pytest.mark.parametrize("start", ModelState)
def test_every_state_is_reached_from_every_other(start: ModelState) -> None:
    reached = {start}
    for _ in ModelState:
        reached |= {new for state in reached for new in TRANSITIONS[state]}
    assert reached == set(ModelState)


def test_a_runner_is_loaded_only_by_loading() -> None:
    before_ready = {state for state in ModelState if ModelState.READY in TRANSITIONS[state]}
    assert before_ready == {ModelState.LOADING}
    assert {state for state in ModelState if not state.is_loaded} == {
        ModelState.IDLE,
        ModelState.FAILED,
    }


async def test_a_load_with_waiting_requests_is_not_unloaded(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, ear = staged(runner), Ear()
    stage.may_load.clear()
    stage.worker.submit(request(1, ear))
    await stage.becomes(ModelState.LOADING)
    with pytest.raises(ModelBusy):
        await stage.worker.unload()
    stage.may_load.set()
    runner.say(finished(1))
    await ear.hears(Finished)
    assert stage.changes == ["loading", "ready"]


async def test_a_failed_load_fails_everybody_who_waits(staged: Staged) -> None:
    stage, ears = staged(ModelLoadError("It is damaged.")), [Ear(), Ear(), Ear()]
    stage.may_load.clear()
    for number, ear in enumerate(ears):
        stage.worker.submit(request(number, ear, user=number))
    await stage.becomes(ModelState.LOADING)
    stage.may_load.set()
    for ear in ears:
        assert (await ear.hears(Failed)).message == "It is damaged."
    assert stage.changes == ["loading", "failed"]
    assert stage.worker.status().state is ModelState.FAILED


async def test_a_runner_that_dies_on_unloading_lets_everybody_go_on(staged: Staged) -> None:
    runner = ScriptedRunner()
    runner.is_slow_to_quit = True
    stage = staged(runner)
    stage.worker.load()
    await stage.becomes(ModelState.READY)
    waits = [asyncio.create_task(stage.worker.unload()) for _ in range(2)]
    await stage.becomes(ModelState.UNLOADING)
    runner.die()
    await asyncio.gather(*waits)
    assert stage.changes == ["loading", "ready", "unloading", "idle"]


async def test_an_unload_that_is_cancelled_before_it_began_leaves_it_ready(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, first, second = staged(runner), Ear(), Ear()
    stage.worker.submit(request(1, first))
    await stage.becomes(ModelState.READY)
    stage.worker.unload_after_current()
    stage.worker.submit(request(2, second))
    stage.worker.cancel_unload()
    runner.say(finished(1), finished(2))
    await second.hears(Finished)
    assert not any(isinstance(event, Interrupted) for event in second.heard)
    assert stage.changes == ["loading", "ready"]
