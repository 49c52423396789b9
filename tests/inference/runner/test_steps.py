"""Steps of an engine that evaluates slices of many sequences together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from app.inference.context_window import FittedPrompt
from app.inference.protocol import Delta, Event, Failed, Finished, Prefill
from app.inference.runner.engines.engine import (
    CacheFull,
    EngineError,
    Slice,
    StepInterrupted,
)
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.pace import SMALLEST_SLICE, TILE, SlicePacer, fill_tiles
from app.inference.runner.sequence import RunnerContext, RunningSequence
from app.inference.runner.steps import StepMaker, StepThreads
from app.inference.runner.threads import ThreadTuner
from tests.inference.runner.test_scheduler import Pause, ask, is_decode, scheduling
from tests.inference.scripted_engine import Bytes, Evaluation, ScriptedEngine


def batched(
    before: Callable[[Evaluation], None] = lambda evaluation: None,
    before_step: Callable[[Sequence[Slice]], None] = lambda step: None,
) -> ScriptedEngine:
    return ScriptedEngine(
        before=before,
        before_step=before_step,
        max_slices=8,
        max_outputs=4,
        is_reproducible=False,
    )


class Bench:
    """Sequences of one engine, stepped by hand. A step takes as long as `seconds` says."""

    def __init__(self, engine: ScriptedEngine, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self._now = 0.0
        self._seconds = seconds
        self.room = RunnerContext(
            KvCache(engine, 8), engine.context_length, Bytes(), ThreadTuner(2), clock=self._clock
        )
        self.maker = StepMaker(self.room, engine)
        self.engine = engine
        self.sequences: list[RunningSequence] = []
        self.events: list[Event] = []

    def _clock(self) -> float:
        self._now += self._seconds() / 2
        return self._now

    def add(self, number: int, prompt: str, tokens: int = 50, **options: object) -> RunningSequence:
        request = replace(ask(number, prompt, tokens), **options)  # type: ignore[arg-type]
        fitted = FittedPrompt(list(prompt.encode()), 0)
        self.sequences.append(RunningSequence(request, fitted, self.room))
        return self.sequences[-1]

    def step(self, *, is_contended: bool = False) -> list[int]:
        """The sizes of its slices. Who had a part goes to the back."""
        chosen = self.maker.choose(self.sequences)
        for sequence, result in zip(
            chosen, self.maker.make(chosen, StepThreads(1, is_contended=is_contended)), strict=True
        ):
            self.sequences.remove(sequence)
            if isinstance(result, Exception):
                self.events.append(Failed(0, str(result)))
                sequence.close()
                continue
            self.events += result
            if not sequence.ended:
                self.sequences.append(sequence)
        return self.engine.steps[-1] if self.engine.steps else []

    def run(self) -> None:
        for _ in range(2000):
            if not self.sequences:
                return
            self.step()
        raise AssertionError("it goes on for ever")

    def text(self, number: int) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Delta) and e.id == number)


def test_a_step_has_every_answer_and_a_slice_of_one_prompt() -> None:
    bench = Bench(batched())
    for number in range(3):
        bench.add(number, "ab")
        bench.step()
    bench.add(8, "x" * 100)
    bench.add(9, "y" * 100)
    sizes = bench.step()
    assert sorted(sizes)[:3] == [1, 1, 1]
    assert len(sizes) == 4
    assert sizes[-1] > 1


def test_prompts_take_turns_in_steps() -> None:
    bench = Bench(batched(), lambda: 0.01)
    one, other = bench.add(1, "x" * 300), bench.add(2, "y" * 300)
    seen = []
    for _ in range(4):
        bench.step()
        seen.append((one.past, other.past))
    assert [one > 0 for one, _ in seen] == [True] * 4
    assert seen[0][1] == 0
    assert seen[1][1] > 0
    assert seen[2][1] == seen[1][1]


def test_rows_of_a_picture_take_less_of_the_time_of_answers_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(batched())
    monkeypatch.setattr(SlicePacer, "slice_size", lambda *_, is_contended: 2 * TILE)
    reader = bench.add(1, "p" * 300)
    monkeypatch.setattr(RunningSequence, "reads_picture", property(lambda one: one is reader))
    assert bench.step() == [2 * TILE]  # nobody waits
    bench.sequences.insert(0, bench.add(2, "q", tokens=90))
    bench.sequences.pop()
    bench.step()
    assert [one is reader for one in bench.sequences] == [True, False]
    assert bench.step() == [TILE]


def test_answers_do_not_depend_on_those_beside_them() -> None:
    alone = {}
    for number, prompt in enumerate(("a", "bc" * 40, "def" * 20)):
        bench = Bench(batched())
        bench.add(number, prompt, tokens=20)
        bench.run()
        alone[number] = bench.text(number)
    together = Bench(batched())
    for number, prompt in enumerate(("a", "bc" * 40, "def" * 20)):
        together.add(number, prompt, tokens=20)
    together.run()
    assert {number: together.text(number) for number in alone} == alone
    assert all(alone.values())


def test_likelihoods_of_a_prompt_come_by_the_slice() -> None:
    reported = []
    for engine in (batched(), ScriptedEngine()):
        bench = Bench(engine)
        bench.add(1, "abcdefghij", 3, tells_prompt=True, top_logprobs=2)
        bench.run()
        reported.append([t for e in bench.events if isinstance(e, Delta) for t in e.tokens])
    assert reported[0] == reported[1]
    assert len(reported[0]) == 13
    assert bench.engine.steps[:3] == [[1], [1], [1]]


def test_a_failed_step_ends_no_other_answer() -> None:
    failures = [1]

    def fail_once(step: Sequence[Slice]) -> None:
        if len(step) > 1 and failures and failures.pop():
            raise EngineError("broken")

    bench = Bench(batched(before_step=fail_once))
    for number, prompt in enumerate(("a", "bc" * 10)):
        bench.add(number, prompt, tokens=10)
    bench.run()
    assert not failures
    ends = [e for e in bench.events if isinstance(e, Finished | Failed)]
    assert sorted(end.id for end in ends) == [0, 1]
    assert all(isinstance(end, Finished) for end in ends)
    assert len(bench.text(0)) == len(bench.text(1)) == 10


def test_a_sequence_that_fails_alone_as_well_ends_alone() -> None:
    def fail(step: Sequence[Slice]) -> None:
        if any(list(part.tokens[:1]) == [ord("!")] for part in step):
            raise EngineError("broken")

    bench = Bench(batched(before_step=fail))
    bench.add(1, "abc", tokens=10)
    bench.step()
    bench.add(2, "!bad", tokens=10)
    bench.run()
    assert [e.message for e in bench.events if isinstance(e, Failed)] == ["broken"]
    assert len(bench.text(1)) == 10


def test_a_full_cache_is_emptied_of_what_is_idle() -> None:
    """The oldest goes first, to RAM where it is worth it."""
    engine = batched()

    def fit(step: Sequence[Slice]) -> None:
        held = sum(len(context.tokens) for context in engine.contexts)
        if held + sum(len(part.tokens) for part in step) > 400:
            raise CacheFull("full")

    engine.before_step = fit
    bench = Bench(engine)
    bench.room.contexts.set_limits(8, 1 << 20)
    for number in range(4):
        bench.add(number, f"{number}" * 150, tokens=5, chat=f"c{number}")
        bench.run()
    assert [e.id for e in bench.events if isinstance(e, Finished)] == [0, 1, 2, 3]
    assert not [e for e in bench.events if isinstance(e, Failed)]
    bench.add(9, "0" * 150 + "more", tokens=2, chat="c0")
    bench.run()
    finished = bench.events[-1]
    assert isinstance(finished, Finished)
    assert (finished.tier, finished.cached_tokens) == ("ram", 150)


def after_four_chats(engine: ScriptedEngine) -> Bench:
    """Of 155 tokens each, where idle ones may hold 400."""
    bench = Bench(engine)
    kept = KvCache(engine, 8, ram_budget=1 << 20, idle_tokens=400)
    bench.room = replace(bench.room, contexts=kept)
    bench.maker = StepMaker(bench.room, engine)
    for number in range(4):
        bench.add(number, f"{number}" * 150, tokens=5, chat=f"c{number}")
        bench.run()
    return bench


def test_idle_chats_make_way_for_a_prompt() -> None:
    """They would slow every step down; in RAM they cost nothing, and are soon back."""
    engine = batched()
    bench = after_four_chats(engine)
    assert sum(len(context.tokens) for context in engine.contexts) <= 400 + 155
    bench.add(9, "0" * 150 + "more", tokens=2, chat="c0")
    bench.run()
    finished = bench.events[-1]
    assert isinstance(finished, Finished)
    assert (finished.tier, finished.cached_tokens) == ("ram", 150)


def test_idle_chats_stay_for_a_short_prompt() -> None:
    """It is read sooner than a chat moves."""
    engine = batched()
    bench = after_four_chats(engine)
    bench.add(8, "4" * 40, tokens=20, chat="c8")
    bench.run()
    held = sum(len(context.tokens) for context in engine.contexts)
    bench.add(9, "5" * 40, tokens=20, chat="c9")
    bench.run()
    assert sum(len(context.tokens) for context in engine.contexts) == held + 59


def test_a_cache_that_is_full_of_what_runs_is_an_error_of_one() -> None:
    def never(step: Sequence[Slice]) -> None:
        raise CacheFull("full")

    bench = Bench(batched(before_step=never))
    bench.add(1, "abc")
    bench.run()
    assert [e.message for e in bench.events if isinstance(e, Failed)] == ["full"]


# With the scheduler.


def test_a_long_prefill_never_stalls_another_stream_in_batches() -> None:
    pause = Pause(is_decode)
    engine = batched(before=pause)
    with scheduling(engine) as (scheduler, heard, _):
        scheduler.submit(ask(1, "short", tokens=60))
        pause.wait()
        scheduler.submit(ask(2, "long " * 190, tokens=3))
        heard.until(lambda events: any(e.id == 2 for e in events if isinstance(e, Prefill)))
        pause.go_on()
        heard.ends(1, 2)
    read = [sizes for sizes in engine.steps[2:] if max(sizes) > 1]
    assert read
    assert all(1 in sizes for sizes in read[:10])


def test_a_request_is_cancelled_within_one_step_of_many() -> None:
    pause, later = Pause(is_decode), Pause(lambda evaluation: evaluation.context == 1)

    def before(evaluation: Evaluation) -> None:
        pause(evaluation)
        later(evaluation)

    engine = batched(before=before)
    with scheduling(engine) as (scheduler, heard, _):
        scheduler.submit(ask(1, "one", tokens=100))
        pause.wait()
        scheduler.submit(ask(2, "long " * 190, tokens=100))
        heard.until(lambda events: any(e.id == 2 for e in events if isinstance(e, Prefill)))
        scheduler.cancel(1)
        pause.go_on()
        (ended,) = heard.ends(1)
        assert isinstance(ended, Finished)
        assert ended.reason == "cancelled"
        later.wait()
        scheduler.cancel(2)
        later.go_on()
        (ended,) = heard.ends(2)
        assert isinstance(ended, Finished)
        assert ended.reason == "cancelled"
        scheduler.submit(ask(3, "after", tokens=3))
        heard.ends(3)
    assert heard.text(3)


def test_a_batched_engine_is_stepped_by_one_thread_with_all_permits() -> None:
    pause = Pause(lambda evaluation: True)
    engine = batched(before=pause)
    with scheduling(engine, threads=4) as (scheduler, heard, _):
        for number in range(4):
            scheduler.submit(ask(number, f"prompt {number}", tokens=30))
        heard.until(lambda events: {e.id for e in events if isinstance(e, Prefill)} == {0, 1, 2, 3})
        pause.go_on()
        heard.ends(*range(4))
    assert max(evaluation.threads for evaluation in engine.evaluations) == 4
    assert max(len(sizes) for sizes in engine.steps) == 4


def test_an_interrupted_step_is_made_again_without_who_is_gone() -> None:
    interruptions = [1]

    def interrupt_once(step: Sequence[Slice]) -> None:
        if len(step) > 1 and interruptions and interruptions.pop():
            raise StepInterrupted("interrupted")

    bench = Bench(batched(before_step=interrupt_once))
    bench.add(1, "abc", tokens=10)
    bench.step()
    gone = bench.add(2, "x" * 100, tokens=10)
    bench.step()
    assert not interruptions
    assert not any(sequence.has_failed for sequence in bench.sequences)
    bench.sequences.remove(gone)
    gone.close()
    bench.run()
    assert len(bench.text(1)) == 10
    assert not [e for e in bench.events if isinstance(e, Failed)]


def test_cancelling_who_reads_interrupts_the_step() -> None:
    pause = Pause(lambda evaluation: len(evaluation.tokens) > 1)
    engine = batched(before=pause)
    with scheduling(engine) as (scheduler, heard, _):
        scheduler.submit(ask(1, "long " * 190, tokens=100))
        pause.wait()
        scheduler.cancel(1)
        assert engine.interrupted == 1
        pause.go_on()
        (ended,) = heard.ends(1)
        assert isinstance(ended, Finished)
        assert ended.reason == "cancelled"


# How large slices are.


class Machine:
    """Takes `gap` seconds for a step of answers, and `each` more for a token of a prompt."""

    def __init__(self, gap: float, each: Callable[[int], float]) -> None:
        self.pacer = SlicePacer()
        self.gap, self.each, self.past = gap, each, 0
        for _ in range(9):
            self.pacer.record(1, 0, gap)

    def read(self, answers: int = 1, *, is_contended: bool = False) -> tuple[int, float]:
        """The size of the next slice, and the seconds that its step takes."""
        size = self.pacer.slice_size(answers, is_contended=is_contended)
        seconds = self.gap * bool(answers) + size * self.each(self.past)
        self.past += size
        self.pacer.record(answers, size, seconds)
        return size, seconds


def read_all(machine: Machine, count: int = 1536) -> list[float]:
    seconds = []
    while machine.past < count:
        seconds.append(machine.read()[1])
    return seconds


@pytest.mark.parametrize(
    ("gap", "each"),
    [
        (0.007, lambda past: 0.0025 + past * 1.2e-6),  # SmolLM2 on two cores
        (0.010, lambda past: 0.0018 + past * 0.6e-6),  # Gemma 3 270M
        (0.020, lambda past: 0.0085 + past * 1.0e-6),  # a llama of 1.2 B
    ],
)
def test_a_pause_follows_the_gaps_of_the_answer(gap: float, each: Callable[[int], float]) -> None:
    """A pause of at most twelve gaps, though late positions cost more."""
    seconds = read_all(Machine(gap, each))
    assert max(seconds) <= 12 * gap
    assert max(seconds) <= 0.25
    assert sum(seconds) / len(seconds) >= 3 * gap  # nor smaller than need be


def test_a_slow_machine_reads_the_smallest_slices() -> None:
    machine = Machine(0.5, lambda past: 0.5)
    sizes = [machine.read()[0] for _ in range(6)]
    assert sizes[-1] == SMALLEST_SLICE


def test_alone_slices_grow_until_they_take_two_seconds() -> None:
    machine = Machine(0.007, lambda past: 0.002)
    seconds = [machine.read(answers=0)[1] for _ in range(8)]
    assert 1.2 <= seconds[-1] <= 2.4
    assert machine.read(answers=0, is_contended=True)[1] <= 0.15


def test_long_slices_alone_do_not_say_what_short_ones_cost() -> None:
    """A token of a short slice costs twice as much: the first pause must not show it."""
    machine = Machine(0.007, lambda past: 0.002)
    for _ in range(8):
        machine.read(answers=0)
    machine.each = lambda past: 0.004
    assert max(machine.read()[1] for _ in range(8)) <= 12 * 0.007


def test_a_try_of_another_number_of_threads_reads_little() -> None:
    pacer = SlicePacer()
    for _ in range(9):
        pacer.record(1, 0, 0.007, 2)
        pacer.record(1, 32, 0.04, 2)
    assert pacer.slice_size(1, 2, is_contended=False) > SMALLEST_SLICE
    assert pacer.slice_size(1, 1, is_contended=False) == SMALLEST_SLICE


def test_a_machine_that_slows_down_is_followed() -> None:
    cost = [0.002]
    machine = Machine(0.007, lambda past: cost[0])
    for _ in range(5):
        machine.read()
    cost[0] = 0.006
    machine.read()
    assert machine.read()[1] <= 12 * 0.007
    cost[0] = 0.002
    assert [machine.read() for _ in range(4)][-1][1] >= 3 * 0.007


@pytest.mark.parametrize("answers", range(8))
def test_slices_fill_the_tiles_of_their_step(answers: int) -> None:
    sizes = [fill_tiles(wanted, answers) for wanted in range(SMALLEST_SLICE, 200)]
    totals = [size + answers for size in sizes]
    assert sum(total % TILE == 0 for total in totals) > 150
    for wanted, size in zip(range(SMALLEST_SLICE, 200), sizes, strict=True):
        assert 0.75 * wanted <= size <= 1.15 * wanted + answers


def test_a_step_of_one_answer_and_the_smallest_slice_fills_half_a_tile() -> None:
    assert fill_tiles(SMALLEST_SLICE, 1) + 1 == TILE // 2
