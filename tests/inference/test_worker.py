"""The worker against a runner that says what the test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.errors import ModelLoadError, QueueFull, ShuttingDown
from app.inference.protocol import (
    Cancel,
    DeleteCache,
    Delta,
    Failed,
    Finished,
    Generate,
    Prefill,
    Shutdown,
)
from app.inference.queue import Interrupted, ModelLoading, Queued, RequestEvent
from tests.inference.scripted import ScriptedRunner
from tests.inference.stage import Ear, Stage, finished, request


async def test_requests_run_first_in_first_out_within_the_slots(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner(slots=1)
    stage = staged(runner)
    ears = [Ear() for _ in range(3)]
    for number, ear in enumerate(ears):
        stage.worker.submit(request(number, ear))
    runner.say(Prefill(0, 5, 5, 0, 0), Delta(0, "Hi"), finished(0))
    await ears[0].hears(Finished)
    assert [c.id for c in runner.sent] == [0, 1]
    reported = ears[2].heard[-1]
    assert isinstance(reported, Queued)
    assert reported.position == 1
    # The runner may take its time to begin: nothing stands before this one any more.
    assert ears[1].heard[-1] == Queued(1, 0)
    runner.say(finished(1))
    await ears[1].hears(Finished)
    assert [c.id for c in runner.sent] == [0, 1, 2]


async def test_the_next_requests_hear_of_the_load_and_the_others_their_place(
    staged: Callable[..., Stage],
) -> None:
    stage = staged(ScriptedRunner())
    stage.may_load.clear()
    first, second = Ear(), Ear()
    stage.worker.submit(request(1, first))
    stage.worker.submit(request(2, second))
    assert await first.hears(ModelLoading) == ModelLoading(1, "Loading the model")
    assert second.heard[-1] == Queued(2, 2)
    stage.may_load.set()


async def test_a_request_for_a_full_queue_is_refused(staged: Callable[..., Stage]) -> None:
    stage = staged(ScriptedRunner(), limit=2)
    stage.may_load.clear()
    for number in range(2):
        stage.worker.submit(request(number, Ear()))
    with pytest.raises(QueueFull, match=r"is busy \(2 in the queue\)") as refused:
        stage.worker.ensure_queue_space(1)
    assert refused.value.retry_after is None  # nobody knows how long the load will take


async def test_a_full_queue_knows_when_there_will_be_room(staged: Callable[..., Stage]) -> None:
    runner = ScriptedRunner()
    stage = staged(runner, limit=1)
    first = Ear()
    stage.worker.submit(request(1, first))
    runner.say(Prefill(1, 5, 5, 0, 0), Finished(1, "stop", 5, 0, 3, 0.1, 30.0, 0))
    await first.hears(Finished)
    for number in (2, 3):
        stage.worker.submit(request(number, Ear()))
    with pytest.raises(QueueFull) as refused:
        stage.worker.ensure_queue_space(1)
    assert refused.value.retry_after == pytest.approx(30, abs=1)


async def test_a_waiting_request_is_cancelled_at_once_and_a_running_one_by_the_runner(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    running, waiting = Ear(), Ear()
    stage.worker.submit(request(1, running))
    stage.worker.submit(request(2, waiting))
    runner.say(Prefill(1, 1, 5, 0, 0))
    await running.hears(Prefill)
    stage.worker.cancel(2)
    assert (await waiting.hears(Finished)).reason == "cancelled"
    stage.worker.cancel(1)
    assert runner.sent[-1] == Cancel(1)
    stage.worker.cancel(77)


async def test_death_of_the_runner_interrupts_what_ran_and_the_next_request_works(
    staged: Callable[..., Stage],
) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage = staged(first, second)
    running, waiting = Ear(), Ear()
    stage.worker.submit(request(1, running))
    stage.worker.submit(request(2, waiting))
    first.say(Prefill(1, 5, 5, 0, 0), Delta(1, "Once"))
    await running.hears(Delta)
    first.die()
    assert "SIGKILL" in (await running.hears(Interrupted)).message
    second.say(Delta(2, "Hello"), finished(2))
    await waiting.hears(Finished)


async def test_a_request_that_a_dead_runner_had_not_begun_is_tried_once_more(
    staged: Callable[..., Stage],
) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage = staged(first, second)
    ear = Ear()
    stage.worker.submit(request(1, ear))
    first.die()
    second.die()
    await ear.hears(Interrupted)
    assert first.sent == second.sent == [request(1, ear).command]


async def test_a_listener_that_fails_takes_no_slot_with_it(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner(slots=1)
    stage = staged(runner)

    class Deaf(Ear):
        def __call__(self, event: RequestEvent) -> None:
            raise RuntimeError(f"cannot hear {event}")

    ear = Ear()
    stage.worker.submit(request(1, Deaf()))
    stage.worker.submit(request(2, ear))
    runner.say(Prefill(1, 5, 5, 0, 0), Delta(1, "Hi"), finished(1), Delta(2, "Ho"), finished(2))
    await ear.hears(Finished)
    assert stage.worker.status().running == 0
    assert (stage.loads, stage.worker.state) == (1, "ready")


async def test_a_worker_that_dies_of_an_event_leaves_no_slot_taken(
    staged: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = staged(ScriptedRunner(slots=1), ScriptedRunner(slots=1))
    running, waiting = Ear(), Ear()
    stage.worker.submit(request(1, running))
    stage.worker.submit(request(2, waiting))
    await stage.becomes("ready")
    runner = stage.worker._runner
    assert isinstance(runner, ScriptedRunner)
    with monkeypatch.context() as broken:
        broken.setattr(stage.worker._dispatcher._eta, "on_event", None)
        runner.say(Prefill(1, 5, 5, 0, 0))
        assert "error inside Wick" in (await running.hears(Interrupted)).message
        with pytest.raises(TypeError):
            await stage.task
    assert (stage.worker.status().running, stage.worker.status().waiting) == (0, 1)
    stage.task = asyncio.create_task(stage.worker.run())  # as the pool does
    await stage.becomes("ready")
    runner = stage.worker._runner
    assert isinstance(runner, ScriptedRunner)
    runner.say(finished(2))
    await waiting.hears(Finished)


async def test_a_load_that_fails_ends_all_waiting_requests_and_can_be_tried_again(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner()
    stage = staged(ModelLoadError("This file is damaged."), runner)
    ears = [Ear(), Ear()]
    for number, ear in enumerate(ears):
        stage.worker.submit(request(number, ear))
    for ear in ears:
        assert (await ear.hears(Failed)).message == "This file is damaged."
    assert stage.worker.state == "failed"
    stage.now = 1.0
    again = Ear()
    stage.worker.submit(request(5, again))
    runner.say(finished(5))
    await again.hears(Finished)


async def test_close_interrupts_everything_and_refuses_more(staged: Callable[..., Stage]) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    running, waiting = Ear(), Ear()
    stage.worker.submit(request(1, running))
    stage.worker.submit(request(2, waiting))
    runner.say(Delta(1, "Once"))
    await running.hears(Delta)
    await stage.worker.close("Wick was stopped.")
    assert (await running.hears(Interrupted)).message == "Wick was stopped."
    assert (await waiting.hears(Interrupted)).message == "Wick was stopped."
    with pytest.raises(ShuttingDown):
        stage.worker.submit(request(3, Ear()))
    with pytest.raises(ShuttingDown):
        stage.worker.ensure_queue_space(1)


async def test_late_events_about_ended_requests_are_ignored(staged: Callable[..., Stage]) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    ear = Ear()
    stage.worker.submit(request(1, ear))
    runner.say(finished(1), Delta(1, "late"), Delta(99, "whose?"), finished(1))
    await ear.hears(Finished)
    runner.die()
    assert [e for e in ear.heard if isinstance(e, Delta)] == []


async def test_many_requests_of_one_user_do_not_hold_up_anothers_first(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    greedy = [Ear() for _ in range(4)]
    for number, ear in enumerate(greedy):
        stage.worker.submit(request(number, ear, user=1))
    modest = Ear()
    stage.worker.submit(request(9, modest, user=2))
    runner.say(Prefill(0, 5, 5, 0, 0))
    await greedy[0].hears(Prefill)
    assert modest.heard[-1] == Queued(9, 1)
    assert greedy[1].heard[-1] == Queued(1, 2)
    runner.say(finished(0), Prefill(9, 1, 5, 0, 0))
    await modest.hears(Prefill)
    assert [c.id for c in runner.sent] == [0, 9]


async def test_estimates_come_from_measured_speeds(staged: Callable[..., Stage]) -> None:
    runner = ScriptedRunner()
    stage = staged(runner)
    ears = [Ear() for _ in range(4)]
    stage.worker.submit(request(0, ears[0]))
    runner.say(Finished(0, "stop", 100, 0, 50, 1.0, 5.0, 0))
    await ears[0].hears(Finished)
    for number in (1, 2, 3):
        stage.worker.submit(request(number, ears[number]))
    runner.say(Prefill(1, 0, 300, 0, 0))
    await ears[1].hears(Prefill)
    stage.worker.cancel(77)  # anything that makes them look again
    first, second = ears[2].heard[-1], ears[3].heard[-1]
    assert first == Queued(2, 1, 8.0)  # three seconds to read, and five to write
    assert isinstance(second, Queued)
    assert second.eta_seconds == pytest.approx(13, abs=0.2)


async def test_background_work_runs_when_no_request_waits_and_gives_way(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner(slots=2)
    stage = staged(runner)
    first, title, second = Ear(), Ear(), Ear()
    stage.worker.submit(request(1, first))
    stage.worker.submit(request(2, title, is_background=True))
    runner.say(Prefill(1, 5, 5, 0, 0))
    await first.hears(Prefill)
    assert [c.id for c in runner.sent] == [1]  # there is a slot, but somebody else at work
    runner.say(finished(1), Prefill(2, 1, 5, 0, 0))
    await title.hears(Prefill)
    stage.worker.submit(request(3, second))
    assert runner.sent[-2:] == [Cancel(2), request(3, second).command]
    runner.say(Finished(2, "cancelled", 5, 0, 0, 0.1, 0.1, 0), finished(3))
    await second.hears(Finished)
    assert runner.sent[-1].id == 2
    assert not any(isinstance(e, Finished) for e in title.heard)
    runner.say(finished(2))
    await title.hears(Finished)


async def test_background_work_cancelled_while_it_gives_way_never_runs_again(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner(slots=2)
    stage = staged(runner)
    title, answer = Ear(), Ear()
    stage.worker.submit(request(1, Ear()))
    runner.say(finished(1))
    stage.worker.submit(request(2, title, is_background=True))
    runner.say(Prefill(2, 1, 5, 0, 0))
    await title.hears(Prefill)
    stage.worker.submit(request(3, answer))
    stage.worker.cancel(2)
    runner.say(Finished(2, "cancelled", 5, 0, 0, 0.1, 0.1, 0), finished(3))
    assert (await title.hears(Finished)).reason == "cancelled"
    await answer.hears(Finished)
    assert [c.id for c in runner.sent if isinstance(c, Generate)] == [1, 2, 3]


async def test_a_cancelled_request_is_not_tried_again_when_the_runner_dies(
    staged: Callable[..., Stage],
) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage = staged(first, second)
    ear, other = Ear(), Ear()
    stage.worker.submit(request(1, ear))
    await stage.becomes("ready")
    stage.worker.cancel(1)
    first.die()
    assert (await ear.hears(Finished)).reason == "cancelled"
    stage.worker.submit(request(2, other))
    second.say(finished(2))
    await other.hears(Finished)
    assert [c.id for c in second.sent] == [2]


async def test_background_work_that_gave_way_to_a_death_gives_way_again(
    staged: Callable[..., Stage],
) -> None:
    first, second = ScriptedRunner(), ScriptedRunner()
    stage = staged(first, second)
    before, title, answer = Ear(), Ear(), Ear()
    stage.worker.submit(request(1, before))
    first.say(finished(1))
    await before.hears(Finished)
    stage.worker.submit(request(2, title, is_background=True))
    stage.worker.submit(request(3, answer))
    first.die()
    second.say(finished(3), Prefill(2, 1, 5, 0, 0))
    await title.hears(Prefill)
    stage.worker.submit(request(4, Ear()))
    assert second.sent[-1] == Cancel(2)


async def test_a_runner_is_shut_down_after_all_requests_were_interrupted(
    staged: Callable[..., Stage],
) -> None:
    runner = ScriptedRunner()
    stage, ear = staged(runner), Ear()
    stage.worker.submit(request(1, ear))
    runner.say(Prefill(1, 5, 5, 0, 0))
    await ear.hears(Prefill)
    stage.worker.delete_chat("chat")
    stage.worker.interrupt("Wick was stopped.")
    assert ear.heard[-1] == Interrupted(1, "Wick was stopped.")
    await stage.worker.close("Wick was stopped.", 0.5)
    assert runner.commands == [DeleteCache("chat"), Shutdown(0.5)]
    assert [type(event) for event in ear.heard].count(Interrupted) == 1


async def test_cache_hits_are_counted_by_tier(staged: Callable[..., Stage]) -> None:
    runner = ScriptedRunner(slots=4)
    stage = staged(runner)
    ears = [Ear() for _ in range(4)]
    for number, ear in enumerate(ears):
        stage.worker.submit(request(number, ear))
    runner.say(
        Finished(0, "stop", 100, 0, 3, 0.1, 0.1, 0),
        Finished(1, "stop", 100, 90, 3, 0.1, 0.1, 0, "disk"),
        Finished(2, "stop", 50, 40, 3, 0.1, 0.1, 0, "disk"),
        Finished(3, "cancelled", 0, 0, 0, 0.0, 0.0, 0),
    )
    await ears[3].hears(Finished)
    hits = stage.worker.status().hits
    assert hits.requests == {"none": 1, "disk": 2}
    assert hits.tokens == {"none": 0, "disk": 130}
    assert hits.evaluated == 120
