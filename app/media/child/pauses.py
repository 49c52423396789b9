"""Pauses in speech: where sound may be cut, and whether anybody can be heard at all."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.media.child.spectrogram import Samples
from app.media.protocol import MAX_WINDOW_SECONDS, SAMPLE_RATE

FRAME_SAMPLES: Final = SAMPLE_RATE // 50
SILENCE: Final = 10 ** (-55 / 20)
"""Loudness of which nothing is understood, as a share of the loudest there can be."""
PAUSE_FRAMES: Final = 10
"""Of 20 ms each, over which the quietest place is looked for: a breath, not a consonant."""
EARLIEST_CUT: Final = 15 * SAMPLE_RATE
"""Windows that are cut for length keep at least so many samples: what is said needs its context."""
MARGIN_SAMPLES: Final = SAMPLE_RATE // 5
"""Kept around speech, whose first and last sounds are quiet."""


def loudness(samples: Samples) -> NDArray[np.float32]:
    """Root mean square of each frame."""
    count = len(samples) // FRAME_SAMPLES
    frames = samples[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
    return np.sqrt(np.mean(frames * frames, axis=1, dtype=np.float32))


def find_speech(samples: Samples) -> tuple[int, int]:
    """Find the first and the last sample that is loud enough to be understood; (0, 0) for none."""
    loud = np.flatnonzero(loudness(samples) > SILENCE)
    if not len(loud):
        return 0, 0
    start = int(loud[0]) * FRAME_SAMPLES - MARGIN_SAMPLES
    end = (int(loud[-1]) + 1) * FRAME_SAMPLES + MARGIN_SAMPLES
    return max(0, start), min(len(samples), end)


def find_cut(samples: Samples) -> int:
    """Find the quietest place of a full window where it may be cut, in samples."""
    levels = loudness(samples[: MAX_WINDOW_SECONDS * SAMPLE_RATE])
    if not len(levels):
        return 0
    smooth = np.convolve(levels, np.ones(PAUSE_FRAMES, np.float32) / PAUSE_FRAMES, "same")
    first = min(EARLIEST_CUT // FRAME_SAMPLES, len(smooth) - 1)
    last = max(first + 1, len(smooth) - PAUSE_FRAMES // 2)
    return (first + int(np.argmin(smooth[first:last]))) * FRAME_SAMPLES
