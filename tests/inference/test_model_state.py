"""States of a model's life: the table of events, and races between them in a worker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from app.errors import ModelBusy, ModelLoadError, ModelTooLarge
from app.inference.lifecycle import LoadAbandoned
from app.inference.model_state import (
    TRANSITIONS,
    IllegalTransition,
    LifeEvent,
    ModelState,
    next_state,
)
from app.inference.protocol import Failed, Finished
from app.inference.queue import Interrupted, RequestEvent
from tests.inference.scripted import ScriptedRunner
from tests.inference.stage import Ear, Stage, finished, request

Staged = Callable[..., Stage]


REQUESTS = {LifeEvent.UNLOAD, LifeEvent.UNLOAD_FOR_GOOD, LifeEvent.KEEP, LifeEvent.RETRY}
LOADING = (
    ModelState.LOADING,
    ModelState.LOADING_TO_DRAIN,
    ModelState.LOADING_TO_DRAIN_FOR_GOOD,
)
READY = (ModelState.READY, ModelState.DRAINING, ModelState.DRAINING_FOR_GOOD)


@pytest.mark.parametrize(("current", "event"), list(itertools.product(ModelState, LifeEvent)))
def test_only_events_of_the_table_happen(current: ModelState, event: LifeEvent) -> None:
    if event in TRANSITIONS[current]:
        assert next_state(current, event) is TRANSITIONS[current][event]
    else:
        with pytest.raises(IllegalTransition, match=f"“{event}” cannot happen to .* {current}"):
            next_state(current, event)


@pytest.mark.parametrize("start", ModelState)
def test_every_state_is_reached_from_every_other(start: ModelState) -> None:
    reached = {start}
    for _ in ModelState:
        reached |= {new for state in reached for new in TRANSITIONS[state].values()}
    assert reached == set(ModelState)


@pytest.mark.parametrize("current", ModelState)
def test_a_request_may_come_in_every_state_and_is_shown_in_none(current: ModelState) -> None:
    assert set(TRANSITIONS[current]) >= REQUESTS
    assert {next_state(current, event).shown for event in REQUESTS} == {current.shown}


def test_five_states_are_shown_with_these_steps_between_them() -> None:
    steps = {
        (state.shown.value, new.shown.value)
        for state in ModelState
        for new in TRANSITIONS[state].values()
        if new.shown is not state.shown
    }
    assert steps == {
        ("idle", "loading"),
        ("loading", "ready"),
        ("loading", "failed"),
        ("loading", "idle"),
        ("ready", "unloading"),
        ("ready", "idle"),
        ("unloading", "idle"),
        ("failed", "loading"),
    }


def test_an_unload_for_good_cannot_be_called_off() -> None:
    for state in (*LOADING, *READY):
        final = next_state(state, LifeEvent.UNLOAD_FOR_GOOD)
        assert final.is_unload_due
        assert {next_state(final, event) for event in REQUESTS} == {final}


def test_an_unload_that_is_called_off_leaves_no_trace() -> None:
    for state in (ModelState.LOADING, ModelState.READY):
        due = next_state(state, LifeEvent.UNLOAD)
        assert due.is_unload_due
        assert next_state(due, LifeEvent.KEEP) is state


def test_an_unload_that_is_due_outlives_the_load() -> None:
    loaded = [next_state(state, LifeEvent.LOADED) for state in LOADING]
    assert loaded == list(READY)
    assert [state.is_unload_due for state in loaded] == [state.is_unload_due for state in LOADING]


def test_only_what_is_due_is_unloaded() -> None:
    assert {state for state in ModelState if LifeEvent.DRAINED in TRANSITIONS[state]} == {
        state for state in READY if state.is_unload_due
    }


def test_a_runner_is_loaded_only_by_loading() -> None:
    before = {state for state in ModelState if LifeEvent.LOADED in TRANSITIONS[state]}
    assert before == set(LOADING)
    assert {state for state in ModelState if not state.is_loaded} == {
        ModelState.IDLE,
        ModelState.FAILED,
        ModelState.BACKING_OFF,
    }


async def brought_to(staged: Staged, state: ModelState) -> tuple[Stage, ScriptedRunner]:
    """A worker in that state, with a request that is answered or waits where it is loaded."""
    runner, ear = ScriptedRunner(), Ear()
    runner.is_slow_to_quit = True
    error = {
        ModelState.FAILED: ModelTooLarge("It does not fit."),
        ModelState.BACKING_OFF: ModelLoadError("It is damaged."),
    }.get(state)
    stage = staged(*([] if error is None else [error]), runner)
    if state is ModelState.IDLE:
        return stage, runner
    if state.shown is ModelState.LOADING:
        stage.may_load.clear()
    if state is ModelState.UNLOADING:
        stage.worker.load()
    else:
        stage.worker.submit(request(1, ear))
    await stage.becomes(ModelState.READY if state is ModelState.UNLOADING else state.shown)
    if state in {ModelState.LOADING_TO_DRAIN, ModelState.DRAINING, ModelState.UNLOADING}:
        stage.worker.unload_after_current()
    elif state.is_unload_due:
        stage.worker.unload_after_current(for_good=True)
    assert stage.worker.exact_state is state
    return stage, runner


@pytest.mark.parametrize("state", ModelState)
@pytest.mark.parametrize("event", sorted(REQUESTS))
async def test_a_worker_takes_requests_as_the_table_says(
    staged: Staged, state: ModelState, event: LifeEvent
) -> None:
    stage, _ = await brought_to(staged, state)
    match event:
        case LifeEvent.UNLOAD:
            stage.worker.unload_after_current()
        case LifeEvent.UNLOAD_FOR_GOOD:
            stage.worker.unload_after_current(for_good=True)
        case LifeEvent.KEEP:
            stage.worker.cancel_unload()
        case _:
            stage.worker.load()
    assert stage.worker.exact_state is TRANSITIONS[state][event]


@pytest.mark.parametrize("state", ModelState)
async def test_changed_settings_end_the_pause_and_what_is_loaded(
    staged: Staged, state: ModelState
) -> None:
    stage, _ = await brought_to(staged, state)
    stage.worker.reload_when_idle()
    after = next_state(next_state(state, LifeEvent.RETRY), LifeEvent.UNLOAD_FOR_GOOD)
    assert stage.worker.exact_state is after
    assert stage.worker.status().error is None


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (state, event)
        for state in ModelState
        for event in TRANSITIONS[state]
        if event not in {*REQUESTS, LifeEvent.LOAD}
    ],
)
async def test_a_worker_goes_on_as_the_table_says(
    staged: Staged, state: ModelState, event: LifeEvent
) -> None:
    stage, runner = await brought_to(staged, state)
    before = len(stage.exact_changes)
    match event:
        case LifeEvent.LOAD_ABANDONED:
            stage.fail_next(LoadAbandoned())
        case LifeEvent.LOAD_REFUSED:
            stage.fail_next(ModelTooLarge("It does not fit."))
        case LifeEvent.LOAD_FAILED:
            stage.fail_next(ModelLoadError("It is damaged."))
        case LifeEvent.DRAINED:
            runner.say(finished(1))
        case LifeEvent.RUNNER_ENDED:
            runner.die()
    if event is LifeEvent.RUNNER_ENDED:
        stage.may_load.clear()
    else:
        stage.may_load.set()
    await stage.passes(TRANSITIONS[state][event], before)
    assert TRANSITIONS[state][event] in stage.exact_changes[before:]


@pytest.mark.parametrize("state", [ModelState.IDLE, ModelState.FAILED])
async def test_a_request_begins_a_load(staged: Staged, state: ModelState) -> None:
    stage, _ = await brought_to(staged, state)
    before = len(stage.exact_changes)
    stage.worker.submit(request(2, Ear()))
    await stage.passes(ModelState.LOADING, before)
    assert stage.exact_changes[before] is ModelState.LOADING


async def test_a_request_that_comes_while_a_load_fails_begins_the_next_one(staged: Staged) -> None:
    runner, ear = ScriptedRunner(), Ear()
    stage = staged(ModelLoadError("It is damaged."), runner)

    def insist(event: RequestEvent) -> None:
        if isinstance(event, Failed):
            stage.worker.submit(request(2, ear))

    first = request(1, ear)
    first.listener = insist
    stage.worker.submit(first)
    await stage.passes(ModelState.READY, 0)
    assert stage.exact_changes == [
        ModelState.LOADING,
        ModelState.BACKING_OFF,
        ModelState.LOADING,
        ModelState.READY,
    ]


async def test_a_request_during_the_pause_is_refused_and_the_first_after_it_loads(
    staged: Staged,
) -> None:
    stage, _ = await brought_to(staged, ModelState.BACKING_OFF)
    early, late = Ear(), Ear()
    stage.worker.submit(request(2, early))
    assert isinstance(early.heard[-1], Failed)
    while_early = stage.worker.exact_state
    stage.now += 1
    stage.worker.submit(request(3, late))
    states = (while_early, stage.worker.exact_state)
    assert states == (ModelState.BACKING_OFF, ModelState.FAILED)
    await stage.becomes(ModelState.READY)


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
