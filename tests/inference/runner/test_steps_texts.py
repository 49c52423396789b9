"""Steps of a model made for search: several texts in one, within the time of a step."""

from __future__ import annotations

from dataclasses import replace

from app.inference.protocol import Cancel, Failed, Finished
from app.inference.runner.pace import ALONE_SECONDS, CONTENDED_SECONDS
from app.inference.runner.steps import GATHERED_TOKENS, StepMaker
from app.inference.runner.threads import ThreadTuner
from tests.inference.runner.test_scheduler import Pause, ask, scheduling
from tests.inference.runner.test_steps import Bench, batched
from tests.inference.scripted_engine import ScriptedEngine

SECONDS_PER_TOKEN = 0.002


class TextBench(Bench):
    """Texts of a model made for search; each token takes its time."""

    def __init__(self, engine: ScriptedEngine, each: float = SECONDS_PER_TOKEN) -> None:
        super().__init__(engine, lambda: 2 * each * sum(engine.steps[-1]) if engine.steps else 0)
        tuner = ThreadTuner(2, clock=lambda: 0.0)
        self.room = replace(self.room, is_stateless=True, tuner=tuner)
        self.maker = StepMaker(self.room, engine)

    def text_of(self, number: int, size: int) -> None:
        self.add(number, chr(ord("a") + number) * size, wants_embedding=True)

    def finished(self) -> list[int]:
        return [event.id for event in self.events if isinstance(event, Finished)]

    def warm_up(self) -> None:
        for _ in range(6):
            self.text_of(25, 200)
            self.run()
        self.events.clear()
        self.engine.steps.clear()


def whole() -> ScriptedEngine:
    return replace(batched(), reads_whole=True, max_slice=1000, max_slices=32)


def test_several_texts_are_evaluated_together() -> None:
    for engine in (whole(), replace(batched(), max_slice=1000)):
        bench = TextBench(engine)
        bench.warm_up()
        for number in range(5):
            bench.text_of(number, 20)
        assert bench.step() == [20] * 5
        assert sorted(bench.finished()) == list(range(5))
        assert not any(context.tokens for context in engine.contexts), "nothing of a text is kept"


def test_a_step_reads_no_more_than_its_time_has_room_for() -> None:
    bench = TextBench(whole())
    bench.warm_up()
    for number in range(8):
        bench.text_of(number, 60)
    while bench.sequences:
        bench.step()
    sizes = bench.engine.steps
    assert [sum(step) for step in sizes] == [360, 120]
    assert 360 * SECONDS_PER_TOKEN <= ALONE_SECONDS


def test_steps_are_short_while_another_model_answers() -> None:
    bench = TextBench(whole())
    bench.warm_up()
    for number in range(8):
        bench.text_of(number, 20)
    bench.step(is_contended=True)
    bench.step(is_contended=True)
    assert sum(bench.engine.steps[-1]) * SECONDS_PER_TOKEN <= CONTENDED_SECONDS


def test_a_text_that_must_be_whole_is_never_cut() -> None:
    bench = TextBench(whole(), each=0.1)
    for number, size in enumerate((30, 700, 30, 5)):
        bench.text_of(number, size)
    bench.run()
    assert sorted(size for step in bench.engine.steps for size in step) == [5, 30, 30, 700]
    assert all(len(step) == 1 or sum(step) <= GATHERED_TOKENS for step in bench.engine.steps)
    assert sorted(bench.finished()) == [0, 1, 2, 3]


def test_at_most_one_text_is_read_in_part() -> None:
    bench = TextBench(replace(batched(), max_slice=200))
    bench.warm_up()
    for number in range(4):
        bench.text_of(number, 150)
    while bench.sequences:
        bench.step()
        assert sum(sequence.past > 0 for sequence in bench.sequences) <= 1
    assert sorted(bench.finished()) == [0, 1, 2, 3]


def test_a_long_text_that_must_be_whole_leaves_a_thread_to_others() -> None:
    bench = TextBench(whole())
    bench.warm_up()
    bench.text_of(1, 100)
    assert bench.maker.threads(bench.sequences, 2) == 2
    bench.text_of(2, 900)
    assert bench.maker.threads(bench.sequences[1:], 2) == 1
    assert bench.maker.threads(bench.sequences[1:], 1) == 1


def test_a_failed_step_takes_no_text_with_it() -> None:
    engine, failures = whole(), [1]

    def fail_once(step: object) -> None:
        if len(step) > 1 and failures and failures.pop():  # type: ignore[arg-type]
            raise RuntimeError("broken")

    bench = TextBench(engine)
    bench.warm_up()
    engine.before_step = fail_once
    for number in range(3):
        bench.text_of(number, 20)
    bench.run()
    assert not failures
    assert not [event for event in bench.events if isinstance(event, Failed)]
    assert sorted(bench.finished()) == [0, 1, 2]


def test_a_text_is_cancelled_between_two_slices() -> None:
    pause = Pause(lambda evaluation: True)
    engine = replace(batched(before=pause), max_slice=64)
    with scheduling(engine, is_stateless=True) as (scheduler, heard, _):
        scheduler.submit(replace(ask(1, "x" * 600), wants_embedding=True))
        pause.wait()
        scheduler.cancel(Cancel(1).id)
        pause.go_on()
        (ended,) = heard.ends(1)
        assert isinstance(ended, Finished)
        assert (ended.reason, ended.embedding) == ("cancelled", ())
        scheduler.submit(replace(ask(2, "after"), wants_embedding=True))
        (ended,) = heard.ends(2)
        assert isinstance(ended, Finished)
        assert ended.embedding == (float(ord("r")),)
