from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.inference.runner.threads import FilePermits, LocalPermits, LongPermit, Permits
from tests.patience import PATIENCE

HOLDER = """
import sys
from pathlib import Path
from app.inference.runner.threads import FilePermits
with FilePermits(Path(sys.argv[1]), 2).acquire(2) as count:
    print(count, flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that takes all permits and keeps them until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "2\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture(params=["file", "local"])
def permits(request: pytest.FixtureRequest, tmp_path: Path) -> Permits:
    return FilePermits(tmp_path, 3) if request.param == "file" else LocalPermits(3)


def test_permits_are_taken_up_to_the_wanted_and_given_back(permits: Permits) -> None:
    for _ in range(3):
        with permits.acquire(2) as two:
            assert two == 2
        with permits.acquire(10) as all_of_them:
            assert all_of_them == 3


def test_permits_are_given_back_after_an_error(permits: Permits) -> None:
    with pytest.raises(RuntimeError), permits.acquire(3):
        raise RuntimeError
    with permits.acquire(3) as count:
        assert count == 3


def test_no_more_permits_are_taken_than_the_budget(permits: Permits) -> None:
    lock, most, flying = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal most, flying
        for turn in range(40):
            with permits.acquire(1 + turn % 3) as count:
                with lock:
                    flying += count
                    most = max(most, flying)
                with lock:
                    flying -= count

    crew = [threading.Thread(target=work) for _ in range(5)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert most <= 3
    assert flying == 0


def test_permits_of_another_process_count_until_it_dies(tmp_path: Path) -> None:
    other = holder(tmp_path)

    class Waited(Exception):
        pass

    def give_up(_: float) -> None:
        raise Waited

    impatient = FilePermits(tmp_path, 2, sleep=give_up)
    with pytest.raises(Waited), impatient.acquire(1):
        pass
    end(other)
    with impatient.acquire(2) as count:
        assert count == 2


def test_waiting_for_permits_ends_when_the_holder_is_killed(tmp_path: Path) -> None:
    other = holder(tmp_path)
    waits = 0

    def kill_first(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            end(other)

    with FilePermits(tmp_path, 2, sleep=kill_first).acquire(2) as count:
        assert count == 1  # having waited, it leaves the rest to others
    assert waits == 1


def test_a_long_computation_gives_its_permits_to_who_waits(permits: Permits) -> None:
    now = [0.0]
    with LongPermit(permits, 3, clock=lambda: now[0]) as long:
        assert long.threads == 3
        assert long.give_way()
        held, leave = threading.Event(), threading.Event()

        def other() -> None:
            with permits.acquire(1):
                held.set()
                assert leave.wait(PATIENCE)

        thread = threading.Thread(target=other)
        thread.start()
        while not held.wait(0.001):
            now[0] += 1.0
            long.give_way()
        while long.give_way():  # its turn came between two tries
            now[0] += 1.0
        long.resize()
        assert long.threads < 3
        assert long.give_way()
        leave.set()
        thread.join(PATIENCE)
    with permits.acquire(3) as count:
        assert count == 3
