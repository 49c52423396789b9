"""Speed and time left, in numbers and in words."""

from __future__ import annotations

import pytest

from app.models.install.progress import ProgressTracker, PullProgress, duration


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        (PullProgress("downloading", 0, 0), "downloading…"),
        (PullProgress("downloading", 5_000_000, 0), "downloading, 5 MB"),
        (PullProgress("checking", 5_000_000, 10_000_000, 1e6), "checking, 5 of 10 MB"),
        (
            PullProgress("downloading", 41_000_000, 98_000_000, 5.2e6),
            "downloading, 41 of 98 MB, 5.2 MB/s, about 11 s left",
        ),
        (
            PullProgress("downloading", 41_000_000, 98_000_000, 0.0),
            "downloading, 41 of 98 MB, 0.0 MB/s",
        ),
    ],
)
def test_progress_is_described_in_words(progress: PullProgress, sentence: str) -> None:
    assert progress.description == sentence


def test_durations_are_described_in_words() -> None:
    assert [duration(s) for s in (0.1, 59, 61, 3700)] == ["1 s", "59 s", "1 min", "1 h 2 min"]


def test_speed_is_unknown_at_first_and_follows_changes() -> None:
    steps: list[PullProgress] = []
    now = [0.0]
    pace = ProgressTracker(steps.append, lambda: now[0])
    for second in range(20):
        now[0] = float(second)
        pace.report("downloading", min(second, 10) * 1_000_000, 20_000_000)
    assert steps[0].speed is None
    assert steps[0].seconds_left is None
    assert steps[5].speed == pytest.approx(1e6)
    assert steps[5].seconds_left == pytest.approx(15)
    assert steps[-1].speed == 0
    pace.report("checking", 0, 20_000_000)
    assert steps[-1].speed is None


def test_bytes_that_are_here_already_do_not_count_as_speed() -> None:
    steps: list[PullProgress] = []
    now = [0.0]
    pace = ProgressTracker(steps.append, lambda: now[0])
    pace.report("downloading", 0, 0)
    for second in range(1, 4):
        now[0] = float(second)
        pace.report("downloading", (50 + second) * 1_000_000, 99_000_000)
    assert steps[-1].speed == pytest.approx(1e6)
