from __future__ import annotations

from app.inference.runner.threads import Kind, ThreadTuner


class Machine:
    """A pacer on a machine where a step takes what `seconds` says."""

    def __init__(self, threads: int, seconds: dict[int, float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.pacer = ThreadTuner(threads, clock=lambda: self.now)

    def step(self, kind: Kind = "decode", limit: int = 99) -> int:
        threads = self.pacer.threads(kind, limit)
        self.now += self.seconds[threads]
        self.pacer.record(kind, threads, 1, self.seconds[threads])
        return threads

    def steps(self, count: int) -> list[int]:
        return [self.step() for _ in range(count)]


def test_the_tuner_finds_that_more_threads_are_faster() -> None:
    machine = Machine(4, {4: 0.01, 2: 0.02, 1: 0.04})
    assert machine.steps(10)[3:] == [4] * 7


def test_the_tuner_finds_that_fewer_threads_are_faster() -> None:
    machine = Machine(2, {2: 1.0, 1: 0.02})
    assert machine.steps(10) == [2, *[1] * 9]


def test_one_collapsed_step_is_enough_to_drop() -> None:
    machine = Machine(2, {2: 0.01, 1: 0.02})
    machine.steps(20)
    machine.seconds[2] = 1.0
    assert machine.steps(3) == [2, 1, 1]


def test_slow_first_steps_do_not_keep_threads_away() -> None:
    machine = Machine(2, {2: 0.03, 1: 0.02})  # memory is touched for the first time
    assert machine.steps(2) == [2, 1]
    machine.seconds[2] = 0.012
    assert machine.steps(10) == [2] * 10


def test_an_accident_does_not_keep_threads_away() -> None:
    machine = Machine(2, {2: 0.01, 1: 0.015})
    machine.steps(20)
    for _ in range(2):  # a browser draws a frame, and another
        machine.seconds[2] = 0.08
        machine.step()
        machine.seconds[2] = 0.01
        assert machine.steps(10).count(2) >= 9


def test_fewer_threads_are_kept_when_more_lose_again_and_again() -> None:
    machine = Machine(2, {2: 0.03, 1: 0.02})
    assert machine.steps(4) == [2, 1, 2, 2]
    assert machine.steps(20) == [1] * 20


def test_the_tuner_comes_back_when_the_machine_is_free_again() -> None:
    machine = Machine(2, {2: 0.01, 1: 0.02})
    machine.steps(20)
    machine.seconds[2] = 1.0
    machine.steps(5)
    machine.seconds[2] = 0.01
    assert machine.steps(200)[-1] == 2


def test_failed_tries_of_the_tuner_become_rare() -> None:
    machine = Machine(2, {2: 1.0, 1: 0.02})
    machine.steps(500)
    early = machine.steps(2000).count(2)
    assert machine.steps(20_000).count(2) <= early * 5
    assert machine.steps(20_000).count(2) <= 20_000 * 0.02 / 30


def test_the_tuner_never_takes_more_threads_than_the_limit() -> None:
    machine = Machine(4, {4: 0.01, 2: 0.02, 1: 0.04})
    assert {machine.step(limit=3) for _ in range(300)} <= {1, 2}


def test_prefill_and_decode_have_their_own_pace() -> None:
    machine = Machine(2, {2: 0.01, 1: 0.02})
    machine.steps(10)
    machine.seconds = {2: 1.0, 1: 0.02}
    assert [machine.step("prefill") for _ in range(3)] == [2, 1, 1]
    machine.seconds = {2: 0.01, 1: 0.02}
    assert machine.steps(10).count(2) >= 9


def test_slices_take_about_a_tenth_of_a_second() -> None:
    pacer = ThreadTuner(2, clock=lambda: 0.0)
    assert pacer.slice_size(2) == 8
    pacer.record("prefill", 2, 8, 8 * 0.004)
    assert pacer.slice_size(2) == 25
    assert pacer.slice_size(1) == 8


def test_slices_stay_within_bounds() -> None:
    for seconds, size in ((1e-9, 64), (0.0, 64), (10.0, 8)):
        pacer = ThreadTuner(1, clock=lambda: 0.0)
        pacer.record("prefill", 1, 1, seconds)
        assert pacer.slice_size(1) == size


def test_a_number_of_permits_between_two_counts_for_the_smaller() -> None:
    pacer = ThreadTuner(4, clock=lambda: 0.0)
    pacer.record("decode", 3, 1, 0.5)
    assert pacer.threads("decode", 2) == 1  # two are measured, one is not yet


def test_slices_of_exact_requests_end_at_blocks_also_while_the_machine_is_busy() -> None:
    pacer = ThreadTuner(1)
    assert pacer.slice_end(0, 1, exact=False) == 8
    assert pacer.slice_end(40, 1, exact=True) == 64
    pacer.record("prefill", 1, 1, 0.0045)
    assert pacer.slice_end(40, 1, exact=False) == 62
    assert pacer.slice_end(40, 1, exact=True) == 64
    for _ in range(5):
        pacer.record("prefill", 1, 1, 0.0025)
    assert pacer.slice_end(40, 1, exact=False) == 64  # at no cost, since a slice is as large
    for _ in range(5):
        pacer.record("prefill", 1, 1, 0.04)
    assert pacer.slice_end(40, 1, exact=True) == 64


def test_where_a_block_never_took_less_than_a_second_slices_of_exact_requests_are_shorter() -> None:
    pacer = ThreadTuner(1)
    for _ in range(5):
        pacer.record("prefill", 1, 1, 0.04)
    assert pacer.slice_end(40, 1, exact=True) == 48
