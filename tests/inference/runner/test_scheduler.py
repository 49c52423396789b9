from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from app.errors import TemplateError
from app.inference.context_window import FittedPrompt
from app.inference.protocol import Delta, Event, Failed, Finished, Generate, Prefill
from app.inference.runner.engines.engine import EngineError
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.scheduler import Scheduler
from app.inference.runner.sequence import RunnerContext
from app.inference.runner.threads import BLOCK, LocalPermits, ThreadTuner
from app.models.model import Turn
from app.models.parameters import Sampling
from tests.inference.scripted_engine import END, Bytes, Evaluation, ScriptedEngine, alphabet
from tests.patience import PATIENCE


class Heard:
    """The events so far; `until` waits for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def until(self, found: Callable[[list[Event]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: found(self.events), PATIENCE), self.events

    def ends(self, *ids: int) -> list[Finished | Failed]:
        """Waits until these requests have ended."""

        def ended(events: list[Event]) -> bool:
            return set(ids) <= {e.id for e in events if isinstance(e, Finished | Failed)}

        self.until(ended)
        return [e for e in self.events if isinstance(e, Finished | Failed) and e.id in ids]

    def text(self, number: int) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Delta) and e.id == number)


class Pause:
    """Stops the engine at an evaluation that `where` picks, until it is told to go on."""

    def __init__(self, where: Callable[[Evaluation], bool]) -> None:
        self._where = where
        self._reached = threading.Event()
        self._go = threading.Event()

    def __call__(self, evaluation: Evaluation) -> None:
        if not self._go.is_set() and self._where(evaluation):
            self._reached.set()
            assert self._go.wait(PATIENCE)

    def wait(self) -> None:
        assert self._reached.wait(PATIENCE)

    def go_on(self) -> None:
        self._go.set()


def prompt_of(request: Generate) -> FittedPrompt:
    return FittedPrompt(list(request.turns[0].content.encode()), 0)


@contextmanager
def scheduling(
    engine: ScriptedEngine,
    *,
    slots: int = 4,
    threads: int = 1,
    prepare: Callable[[Generate], FittedPrompt] = prompt_of,
    emit: Callable[[Event], None] | None = None,
    gather: float = 0.0,
    is_stateless: bool = False,
) -> Iterator[tuple[Scheduler, Heard, KvCache]]:
    heard = Heard()
    pool = KvCache(engine, slots)
    room = RunnerContext(
        pool,
        engine.context_length,
        Bytes(),
        ThreadTuner(threads),
        clock=lambda: 0.0,
        min_delta_interval=gather,
        is_stateless=is_stateless,
    )
    scheduler = Scheduler(
        room, prepare, emit or heard, LocalPermits(threads), slots=slots, threads=threads
    )
    try:
        yield scheduler, heard, pool
    finally:
        scheduler.close()


def ask(number: int, text: str = "prompt", tokens: int = 5, stop: tuple[str, ...] = ()) -> Generate:
    return Generate(number, (Turn("user", text),), Sampling(temperature=0), tokens, stop)


def is_decode(evaluation: Evaluation) -> bool:
    return len(evaluation.tokens) == 1


def all_contexts_free(pool: KvCache, count: int) -> bool:
    return len({id(pool.acquire([1, 2])[0]) for _ in range(count)}) == count


def test_an_answer_goes_from_its_prompt_to_its_end() -> None:
    with scheduling(ScriptedEngine()) as (scheduler, heard, _):
        scheduler.submit(ask(1, "abc", tokens=4))
        [finished] = heard.ends(1)
    assert heard.text(1) == "defg"
    assert heard.events[0] == Prefill(1, done=0, total=3, cached=0, dropped=0)
    assert finished == Finished(1, "length", 3, 0, 4, 0.0, 0.0, 0, context_length=1000)


def test_gathered_text_counts_its_tokens() -> None:
    with scheduling(ScriptedEngine(), gather=1.0) as (scheduler, heard, _):
        scheduler.submit(ask(1, "abc", tokens=4))
        heard.ends(1)
    assert [e for e in heard.events if isinstance(e, Delta)] == [
        Delta(1, "d", count=1),
        Delta(1, "efg", count=3),
    ]


def test_an_answer_ends_at_the_end_token_or_a_stop_string() -> None:
    def ends_after_ten(tokens: Sequence[int]) -> int:
        return alphabet(tokens) if len(tokens) < 10 else END

    with scheduling(ScriptedEngine(ends_after_ten)) as (scheduler, heard, _):
        scheduler.submit(ask(1, "abc", tokens=99))
        scheduler.submit(ask(2, "abc", tokens=99, stop=("fg",)))
        reasons = {e.id: e.reason for e in heard.ends(1, 2) if isinstance(e, Finished)}
    assert (heard.text(1), heard.text(2)) == ("defghij", "de")
    assert reasons == {1: "stop", 2: "stop"}


def test_an_answer_that_fills_the_window_ends_with_length() -> None:
    with scheduling(ScriptedEngine(context_length=10)) as (scheduler, heard, _):
        scheduler.submit(ask(1, "abc", tokens=99))
        [finished] = heard.ends(1)
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.completion_tokens) == ("length", 7)


def test_a_long_prefill_never_stalls_another_stream() -> None:
    pause = Pause(is_decode)
    engine = ScriptedEngine(before=pause)
    with scheduling(engine) as (scheduler, heard, _):
        scheduler.submit(ask(1, "short", tokens=30))
        pause.wait()
        scheduler.submit(ask(2, "long " * 190, tokens=3))
        heard.until(lambda events: any(e.id == 2 for e in events if isinstance(e, Prefill)))
        pause.go_on()
        heard.ends(1, 2)
    order = [evaluation.context for evaluation in engine.evaluations if evaluation.past > 0]
    slices = [place for place, number in enumerate(order) if number == 1]
    assert len(slices) >= 14
    assert all(order[place + 1] == 0 for place in slices[:12])  # one slice, then the other's turn


def test_alone_a_step_may_use_all_threads_and_one_each_in_company() -> None:
    pause = Pause(is_decode)
    engine = ScriptedEngine(before=pause)
    with scheduling(engine, threads=4) as (scheduler, heard, _):
        scheduler.submit(ask(1, tokens=20))
        pause.wait()
        for number in (2, 3, 4):
            scheduler.submit(ask(number, f"{number} other", tokens=20))
        heard.until(lambda events: {2, 3, 4} <= {e.id for e in events if isinstance(e, Prefill)})
        pause.go_on()
        heard.ends(1, 2, 3, 4)
    threads = [evaluation.threads for evaluation in engine.evaluations]
    assert threads[:2] == [4, 4]
    assert set(threads[2:15]) == {1}


def test_further_requests_wait_in_their_order() -> None:
    with scheduling(ScriptedEngine(), slots=1) as (scheduler, heard, _):
        for number in (3, 1, 2):
            scheduler.submit(ask(number))
        assert [e.id for e in heard.ends(1, 2, 3)] == [3, 1, 2]


def test_a_request_is_cancelled_while_it_waits() -> None:
    pause = Pause(lambda evaluation: True)
    with scheduling(ScriptedEngine(before=pause), slots=1) as (scheduler, heard, _):
        scheduler.submit(ask(1))
        pause.wait()
        scheduler.submit(ask(2))
        scheduler.cancel(2)
        assert heard.ends(2) == [Finished(2, "cancelled", 0, 0, 0, 0.0, 0.0, 0)]
        pause.go_on()
        heard.ends(1)


@pytest.mark.parametrize("where", [lambda e: e.past == BLOCK, lambda e: len(e.tokens) == 1])
def test_a_request_is_cancelled_within_one_step_of_prefill_or_decode(
    where: Callable[[Evaluation], bool],
) -> None:
    pause = Pause(where)
    engine = ScriptedEngine(before=pause)
    with scheduling(engine, threads=2) as (scheduler, heard, pool):
        scheduler.submit(ask(1, "p" * 80, tokens=1000))
        pause.wait()
        before = len(engine.evaluations)
        scheduler.cancel(1)
        pause.go_on()
        [finished] = heard.ends(1)
        assert isinstance(finished, Finished)
        assert finished.reason == "cancelled"
        assert len(engine.evaluations) == before + 1
        scheduler.submit(ask(2, "p" * 80, tokens=1))
        [following] = heard.ends(2)
        assert isinstance(following, Finished)
        assert following.cached_tokens > 0  # what was read is not lost
    assert all_contexts_free(pool, 4)


def test_a_request_is_cancelled_while_its_prompt_is_prepared() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(request: Generate) -> FittedPrompt:
        entered.set()
        assert leave.wait(PATIENCE)
        return prompt_of(request)

    engine = ScriptedEngine()
    with scheduling(engine, prepare=slow) as (scheduler, heard, _):
        scheduler.submit(ask(1))
        assert entered.wait(PATIENCE)
        scheduler.cancel(1)
        leave.set()
        [finished] = heard.ends(1)
    assert isinstance(finished, Finished)
    assert finished.reason == "cancelled"
    assert engine.evaluations == []


def test_a_slow_template_holds_up_no_running_answer() -> None:
    leave = threading.Event()

    def prepare(request: Generate) -> FittedPrompt:
        if request.id == 2:
            assert leave.wait(PATIENCE)
        return prompt_of(request)

    with scheduling(ScriptedEngine(), prepare=prepare) as (scheduler, heard, _):
        scheduler.submit(ask(1, tokens=50))
        scheduler.submit(ask(2))
        heard.ends(1)
        leave.set()
        heard.ends(2)


def test_unknown_cancels_are_ignored_and_double_ids_refused() -> None:
    pause = Pause(lambda evaluation: True)
    with scheduling(ScriptedEngine(before=pause)) as (scheduler, heard, _):
        scheduler.cancel(99)
        scheduler.submit(ask(1))
        with pytest.raises(ValueError):
            scheduler.submit(ask(1))
        pause.go_on()
        heard.ends(1)
        scheduler.cancel(1)


@pytest.mark.parametrize("error", [EngineError("broken"), MemoryError(), ZeroDivisionError()])
def test_a_broken_sequence_fails_alone(error: Exception) -> None:
    def fail_the_second(evaluation: Evaluation) -> None:
        if evaluation.tokens[0] == ord("B"):
            raise error

    engine = ScriptedEngine(before=fail_the_second)
    with scheduling(engine, threads=2) as (scheduler, heard, pool):
        for number, text in enumerate(["A", "B", "C", "B", "D", "B", "B"]):
            scheduler.submit(ask(number, text))
        ends = heard.ends(*range(7))
    assert {e.id for e in ends if isinstance(e, Failed)} == {1, 3, 5, 6}
    assert all_contexts_free(pool, 4)


def test_a_prompt_that_cannot_be_made_fails_in_a_sentence() -> None:
    def refuse(request: Generate) -> FittedPrompt:
        raise TemplateError("The template failed.")

    with scheduling(ScriptedEngine(), prepare=refuse) as (scheduler, heard, _):
        scheduler.submit(ask(1))
        assert heard.ends(1) == [Failed(1, "The template failed.", 422)]


def test_a_long_error_message_is_cut() -> None:
    def refuse(request: Generate) -> FittedPrompt:
        raise TemplateError("x" * 2_000_000)

    with scheduling(ScriptedEngine(), prepare=refuse) as (scheduler, heard, _):
        scheduler.submit(ask(1))
        assert heard.ends(1) == [Failed(1, "x" * 600, 422)]


def test_threads_in_flight_never_exceed_the_budget() -> None:
    lock, flying, most = threading.Lock(), 0, 0

    def count(evaluation: Evaluation) -> None:
        nonlocal flying, most
        with lock:
            flying += evaluation.threads
            most = max(most, flying)
        with lock:
            flying -= evaluation.threads

    with scheduling(ScriptedEngine(before=count), threads=3, slots=8) as (scheduler, heard, _):
        for number in range(20):
            scheduler.submit(ask(number, f"{number} " * number + "?", tokens=20))
        heard.ends(*range(20))
    assert 1 <= most <= 3
    assert all(heard.text(number) for number in range(20))


def test_events_are_written_without_a_permit() -> None:
    """A parent that reads slowly must not keep other models from working."""
    permits = LocalPermits(1)
    taken = threading.Event()

    def slow_reader(event: Event) -> None:
        with permits.acquire(1):
            taken.set()

    engine = ScriptedEngine()
    room = RunnerContext(KvCache(engine, 1), 100, Bytes(), ThreadTuner(1))
    scheduler = Scheduler(room, prompt_of, slow_reader, permits, slots=1, threads=1)
    scheduler.submit(ask(1, tokens=1))
    assert taken.wait(PATIENCE)
    scheduler.close()


def test_closing_ends_every_request_without_an_event() -> None:
    pause = Pause(is_decode)
    with scheduling(ScriptedEngine(before=pause)) as (scheduler, heard, pool):
        for number in range(6):
            scheduler.submit(ask(number, f"{number}", tokens=1000))
        pause.wait()
        threading.Thread(target=pause.go_on).start()
        scheduler.close()
    assert not [e for e in heard.events if isinstance(e, Failed)]
    assert all_contexts_free(pool, 4)


class CopyPause:
    """Stops the engine inside a copy of a state until it is told to go on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, what: str) -> None:
        if what == self._what and not self.go_on.is_set():
            self.reached.set()
            assert self.go_on.wait(PATIENCE)


@pytest.mark.parametrize("what", ["save", "restore"])
def test_a_request_is_cancelled_while_a_state_is_copied(what: str) -> None:
    """The request ends, its context is free again, and nobody's state was lost."""
    engine = ScriptedEngine()
    pool = KvCache(engine, 1, ram_budget=1 << 20)
    room = RunnerContext(pool, engine.context_length, Bytes(), ThreadTuner(1), clock=lambda: 0.0)
    heard = Heard()
    scheduler = Scheduler(room, prompt_of, heard, LocalPermits(1), slots=1, threads=1)
    for number, text in enumerate(["a" * 100, "b" * 100]):
        scheduler.submit(replace(ask(number, text), chat=text[0]))
        heard.ends(number)
    pause = engine.copying = CopyPause(what)
    scheduler.submit(replace(ask(2, "a" * 100 + "more"), chat="a"))
    assert pause.reached.wait(PATIENCE)
    scheduler.cancel(2)
    pause.go_on.set()
    [cancelled] = heard.ends(2)
    assert isinstance(cancelled, Finished)
    assert cancelled.reason == "cancelled"
    tiers = {}
    for number, text in ((3, "b" * 100), (4, "a" * 100)):
        scheduler.submit(replace(ask(number, text + "more"), chat=text[0]))
        [end] = heard.ends(number)
        assert isinstance(end, Finished)
        tiers[number] = (end.tier, end.cached_tokens)
    scheduler.close()
    assert tiers == {3: ("ram", 100), 4: ("ram", 100)}
    assert all_contexts_free(pool, 1)


def test_a_closing_that_may_not_wait_leaves_what_is_at_work_alone() -> None:
    pause = Pause(is_decode)
    with scheduling(ScriptedEngine(before=pause)) as (scheduler, _, pool):
        scheduler.submit(ask(1, tokens=100))
        pause.wait()
        scheduler.close(0.0)
        assert pool._contexts.free == []  # the step still has it
        pause.go_on()
