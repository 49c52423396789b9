"""The spectrogram that Whisper sees."""

from __future__ import annotations

import numpy as np
import pytest

from app.media.child.spectrogram import _filters, _hertz, _mel, log_mel
from app.media.protocol import SAMPLE_RATE


@pytest.mark.parametrize(("hertz", "mel"), [(1000, 15.0), (6400, 42.0)])
def test_the_scale_is_the_one_of_its_training(hertz: float, mel: float) -> None:
    assert _mel(hertz) == pytest.approx(mel)
    assert _hertz(np.array([mel]))[0] == pytest.approx(hertz)


@pytest.mark.parametrize("hertz", [250, 1000, 4000])
def test_a_tone_is_in_its_band(hertz: int) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    spectrum = log_mel(tone, 10, 80)
    assert spectrum.shape == (80, 1000)
    assert spectrum.dtype == np.float32
    band = int(np.argmax(spectrum[:, 50]))
    edges = _hertz(np.linspace(0, _mel(SAMPLE_RATE / 2), 82))
    assert edges[band] < hertz < edges[band + 2]
    assert spectrum.max() - spectrum.min() <= 2.0 + 1e-6
    assert spectrum[:, 500].max() == pytest.approx(spectrum.min())


def test_bands_have_no_gaps() -> None:
    for bands in (80, 128):
        assert _filters(bands).sum(axis=1).min() > 0
