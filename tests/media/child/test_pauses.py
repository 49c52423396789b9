"""Where speech is, and where it may be cut."""

from __future__ import annotations

import numpy as np

from app.media.child.pauses import MARGIN_SAMPLES, find_cut, find_speech
from app.media.protocol import SAMPLE_RATE


def sound(seconds: float, loud: float = 0.1) -> np.ndarray:
    count = int(seconds * SAMPLE_RATE)
    return np.random.default_rng(5).normal(0, loud, count).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def test_silence_around_speech_is_left_out() -> None:
    start, end = find_speech(np.concatenate([silence(2), sound(3), silence(1)]))
    assert start == 2 * SAMPLE_RATE - MARGIN_SAMPLES
    assert end == 5 * SAMPLE_RATE + MARGIN_SAMPLES
    assert find_speech(sound(1)) == (0, SAMPLE_RATE)


def test_in_silence_there_is_no_speech() -> None:
    for samples in (silence(2), sound(2, loud=0.001), silence(0), silence(0.001)):
        assert find_speech(samples) == (0, 0)


def test_a_long_window_is_cut_at_a_pause() -> None:
    samples = np.concatenate([sound(10), silence(1), sound(11), silence(0.4), sound(7.6)])
    assert 22 * SAMPLE_RATE <= find_cut(samples) <= 22.4 * SAMPLE_RATE


def test_a_window_without_a_pause_is_cut_all_the_same() -> None:
    assert 15 * SAMPLE_RATE <= find_cut(sound(30)) <= 30 * SAMPLE_RATE
    assert find_cut(silence(0.001)) == 0
