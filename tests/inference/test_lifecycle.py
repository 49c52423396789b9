"""How a worker loads its model and sees it out, at a time that the test tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.errors import ModelBusy, ModelLoadError, ModelTooLarge, ShuttingDown
from app.inference.dispatcher import Runner
from app.inference.lifecycle import ProgressCallback
from app.inference.protocol import Cancel, Delta, Failed, Finished, Prefill, Shutdown
from app.inference.queue import Interrupted, ModelLoading
from app.inference.worker import Worker
from tests.inference.scripted import ScriptedRunner
from tests.inference.stage import Ear, Stage, finished, request
from tests.patience import PATIENCE

Staged = Callable[..., Stage]


async def has_answered(stage: Stage, runner: ScriptedRunner, number: int = 1) -> None:
    ear = Ear()
    stage.worker.submit(request(number, ear))
    runner.say(finished(number))
    await ear.hears(Finished)


async def test_a_user_loads_and_unloads_a_model(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    stage.worker.load()
    stage.worker.load()
    await stage.becomes("ready")
    stage.worker.load()
    await stage.worker.unload()
    assert runner.commands == [Shutdown(5.0)]
    assert stage.changes == ["loading", "ready", "unloading", "idle"]
    assert stage.loads == 1
    await stage.worker.unload()  # again is harmless


async def test_a_model_is_not_unloaded_while_it_answers_or_requests_wait(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, ears = staged(runner), [Ear(), Ear()]
    stage.may_load.clear()
    stage.worker.submit(request(0, ears[0]))
    await ears[0].hears(ModelLoading)
    with pytest.raises(ModelBusy, match="tiny is answering, or somebody waits"):
        await stage.worker.unload()
    stage.may_load.set()
    stage.worker.submit(request(1, ears[1]))
    runner.say(finished(0), Prefill(1, 1, 5, 0, 0))
    await ears[1].hears(Prefill)
    with pytest.raises(ModelBusy):
        await stage.worker.unload()
    runner.say(finished(1))
    await ears[1].hears(Finished)
    await stage.worker.unload()
    assert stage.worker.state == "idle"


async def test_unloading_ends_a_load_that_nobody_waits_for(staged: Staged) -> None:
    stage = staged(ScriptedRunner())
    stage.may_load.clear()
    stage.worker.load()
    await stage.becomes("loading")
    await stage.worker.unload()
    assert stage.worker.state == "idle"
    assert not stage.worker.is_needed


async def test_a_request_during_unloading_is_answered_by_the_next_load(staged: Staged) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    first.is_slow_to_quit = True
    stage, ear = staged(first, second), Ear()
    await has_answered(stage, first)
    unloading = asyncio.create_task(stage.worker.unload())
    await stage.becomes("unloading")
    stage.worker.submit(request(2, ear))
    assert first.sent[-1].id == 1
    second.say(finished(2))
    first.die()
    await ear.hears(Finished)
    await unloading
    assert not any(isinstance(event, Interrupted) for event in ear.heard)


async def test_a_model_that_is_just_unloading_is_loaded_again_for_who_asks(staged: Staged) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    first.is_slow_to_quit = True
    stage = staged(first, second)
    await has_answered(stage, first)
    unloading = asyncio.create_task(stage.worker.unload())
    await stage.becomes("unloading")
    stage.worker.load()
    first.die()
    await unloading
    await stage.becomes("ready")
    assert stage.loads == 2


async def test_a_worker_stops_while_its_model_loads_or_unloads(staged: Staged) -> None:
    loading, leaving = staged(), staged(ScriptedRunner())
    loading.may_load.clear()
    ear = Ear()
    loading.worker.submit(request(1, ear))
    leaving.worker.load()
    await leaving.becomes("ready")
    leaving.worker.unload_after_current()
    for stage in (loading, leaving):
        await stage.worker.close("Wick was stopped.", 0.5)
        await stage.becomes("idle")
    assert ear.heard[-1] == Interrupted(1, "Wick was stopped.")
    with pytest.raises(ShuttingDown):
        loading.worker.load()


async def test_keep_alive_unloads_an_idle_model(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage = staged(runner, keep_alive=60.0)
    await has_answered(stage, runner)
    first = stage.timer()
    assert first is not None
    assert first.seconds == 60.0
    stage.now = 20.0
    assert (stage.worker.status().idle_since, stage.worker.status().unloads_in) == (0.0, 40.0)
    await has_answered(stage, runner, 2)
    assert first.is_cancelled
    second = stage.timer()
    assert second is not None
    second.go_off()
    await stage.becomes("idle")
    assert runner.commands == [Shutdown(5.0)]
    assert stage.timer() is None
    assert stage.worker.status().unloads_in is None


async def test_a_set_keep_alive_holds_until_the_model_is_unloaded(staged: Staged) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage = staged(first, second, keep_alive=60.0)
    stage.worker.set_keep_alive(5.0)
    await has_answered(stage, first)
    timer = stage.timer()
    assert timer is not None
    assert timer.seconds == 5.0
    stage.worker.set_keep_alive(float("inf"))
    assert timer.is_cancelled
    assert stage.worker.status().unloads_in is None
    stage.worker.set_keep_alive(0.0)
    timer = stage.timer()
    assert timer is not None
    timer.go_off()
    await stage.becomes("idle")
    await has_answered(stage, second, 2)
    timer = stage.timer()
    assert timer is not None
    assert timer.seconds == 60.0


async def test_the_idle_timer_does_not_run_while_a_model_answers(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, ear = staged(runner, keep_alive=0.0), Ear()
    stage.worker.submit(request(1, ear))
    runner.say(Delta(1, "Once"))
    await ear.hears(Delta)
    assert stage.timer() is None
    title = Ear()
    stage.worker.submit(request(2, title, is_background=True))
    runner.say(finished(1), Prefill(2, 1, 5, 0, 0))
    await title.hears(Prefill)
    assert stage.timer() is None  # the background uses it, too
    runner.say(finished(2))
    await title.hears(Finished)
    timer = stage.timer()
    assert timer is not None
    assert timer.seconds == 0.0


async def test_background_work_loads_no_model_and_makes_way_for_unloading(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, title = staged(runner), Ear()
    stage.worker.submit(request(2, title, is_background=True))
    assert not stage.worker.is_needed
    stage.worker.load()
    runner.say(Prefill(2, 1, 5, 0, 0))
    await title.hears(Prefill)
    unloading = asyncio.create_task(stage.worker.unload())
    while runner.sent[-1] != Cancel(2):
        await asyncio.sleep(0)
    runner.say(Finished(2, "cancelled", 5, 0, 0, 0.1, 0.1, 0))
    await unloading
    assert stage.loads == 1
    assert not any(isinstance(event, Finished) for event in title.heard)


async def test_an_unload_for_good_is_not_called_off_for_others(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, title = staged(runner), Ear()
    stage.worker.load()
    stage.worker.submit(request(2, title, is_background=True))
    runner.say(Prefill(2, 1, 5, 0, 0))
    await title.hears(Prefill)
    stage.worker.unload_after_current()  # somebody waits for memory, then does not any more
    unloading = asyncio.create_task(stage.worker.unload())
    await asyncio.sleep(0)
    stage.worker.cancel_unload()
    runner.say(Finished(2, "cancelled", 5, 0, 0, 0.1, 0.1, 0))
    await unloading
    assert runner.is_dead


async def test_an_infinite_keep_alive_never_unloads(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage = staged(runner, keep_alive=float("inf"))
    await has_answered(stage, runner)
    assert stage.timers == []
    assert stage.worker.status().idle_since == 0.0
    assert stage.worker.status().unloads_in is None


async def test_loads_that_fail_back_off(staged: Staged) -> None:
    errors = [ModelLoadError("It is broken.") for _ in range(9)]
    runner = ScriptedRunner()
    stage = staged(*errors, runner)
    for number, pause in enumerate((1, 2, 4, 8, 16, 32, 60, 60)):
        first, early = Ear(), Ear()
        stage.worker.submit(request(number, first))
        assert (await first.hears(Failed)).message == "It is broken."
        stage.now += pause - 0.5
        stage.worker.submit(request(100 + number, early))
        assert early.heard == [
            Failed(100 + number, "It is broken. It can be tried again in 1 second.")
        ]
        stage.now += 0.5
    assert stage.loads == 8
    assert stage.worker.status().error == "It is broken."

    early, hurried = Ear(), Ear()
    stage.worker.submit(request(50, early))
    await early.hears(Failed)
    stage.worker.load()  # a user wants it now
    await stage.becomes("ready")
    assert stage.worker.status().error is None
    stage.worker.submit(request(51, hurried))
    runner.say(finished(51))
    await hurried.hears(Finished)


async def test_a_load_that_costs_nothing_to_try_may_be_tried_at_once(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, ears = staged(ModelTooLarge("It does not fit."), runner), [Ear(), Ear()]
    stage.worker.submit(request(0, ears[0]))
    assert (await ears[0].hears(Failed)).message == "It does not fit."
    stage.worker.submit(request(1, ears[1]))
    runner.say(finished(1))
    await ears[1].hears(Finished)


async def test_the_progress_of_a_load_is_reported(staged: Staged) -> None:
    stage, ear = staged(ScriptedRunner()), Ear()
    stage.may_load.clear()
    stage.worker.submit(request(1, ear))
    await ear.hears(ModelLoading)
    while stage.tell is None:
        await asyncio.sleep(0)
    stage.tell("Loading the model, 40 %", 0.4)
    assert ear.heard[-1] == ModelLoading(1, "Loading the model, 40 %")
    assert stage.worker.status().load_progress == 0.4
    stage.may_load.set()
    await stage.becomes("ready")
    assert stage.worker.status().load_progress is None
    assert stage.worker.status().detail is None


async def test_an_unload_after_current_serves_the_queue_and_then_loads_for_the_rest(
    staged: Staged,
) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage, ears = staged(first, second), [Ear() for _ in range(3)]
    stage.worker.submit(request(0, ears[0]))
    stage.worker.submit(request(1, ears[1]))
    first.say(Prefill(0, 1, 5, 0, 0))
    await ears[0].hears(Prefill)
    stage.worker.unload_after_current()
    stage.worker.submit(request(2, ears[2], user=2))  # fair turns do not bring it before the end
    first.say(finished(0), Prefill(1, 1, 5, 0, 0))
    await ears[1].hears(Prefill)
    assert stage.worker.state == "ready"
    second.say(finished(2))
    first.say(finished(1))
    await ears[2].hears(Finished)
    assert [c.id for c in first.sent] == [0, 1]
    assert [c.id for c in second.sent] == [2]


async def test_an_unload_that_is_called_off_lets_the_queue_go_on(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage, ears = staged(runner), [Ear(), Ear()]
    stage.worker.submit(request(0, ears[0]))
    runner.say(Prefill(0, 1, 5, 0, 0))
    await ears[0].hears(Prefill)
    stage.worker.unload_after_current()
    stage.worker.submit(request(1, ears[1]))
    stage.worker.cancel_unload()
    runner.say(finished(0), finished(1))
    await ears[1].hears(Finished)
    assert stage.loads == 1


@pytest.mark.parametrize("is_busy", [False, True])
async def test_changed_settings_apply_as_soon_as_that_disturbs_no_request(
    staged: Staged, *, is_busy: bool
) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage, ear = staged(first, second), Ear()
    stage.worker.reload_when_idle()  # nothing is loaded
    if is_busy:
        stage.worker.submit(request(1, ear))
        first.say(Delta(1, "Once"))
        await ear.hears(Delta)
        stage.worker.reload_when_idle()
        stage.worker.cancel_unload()  # about memory, which is another matter
        assert stage.worker.state == "ready"
        first.say(finished(1))
    else:
        await has_answered(stage, first)
        stage.worker.reload_when_idle()
    await stage.becomes("idle")
    await has_answered(stage, second, 2)
    assert stage.worker.state == "ready"


async def test_closing_waits_for_the_end_of_a_load_that_is_given_up() -> None:
    steps: list[str] = []

    async def load(notify: ProgressCallback) -> Runner:
        steps.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):  # a process that is killed takes a while to be gone
                await asyncio.sleep(0)
            steps.append("gone")
        raise AssertionError

    worker = Worker("tiny", load, queue_limit=8, slots=1)
    task = asyncio.create_task(worker.run())
    worker.load()
    async with asyncio.timeout(PATIENCE):
        while not steps:
            await asyncio.sleep(0)
        await worker.close("Wick was stopped.")
    assert steps == ["begun", "gone"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_load_that_is_ready_when_it_is_given_up_leaves_no_runner(staged: Staged) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    stage.may_load.clear()
    stage.worker.load()
    await stage.becomes("loading")
    stage.may_load.set()
    await asyncio.sleep(0)  # its load goes on now, before the worker hears of it
    await stage.worker.unload()
    assert stage.worker.state == "idle"
    assert runner.is_dead
