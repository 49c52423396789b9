"""Sound as Whisper sees it: the logarithm of its energy in bands, 100 times a second."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.media.protocol import SAMPLE_RATE

FFT_SAMPLES: Final = 400
HOP_SAMPLES: Final = 160
FRAMES_PER_SECOND: Final = SAMPLE_RATE // HOP_SAMPLES
LINEAR_HZ: Final = 1000.0
"""Below it the mel scale is linear, above it logarithmic (Slaney)."""
HZ_PER_MEL: Final = 200 / 3
LOG_STEP: Final = np.log(6.4) / 27
DYNAMIC_RANGE: Final = 8.0
"""Powers of ten below the loudest that still count."""

Samples = NDArray[np.float32]


def log_mel(samples: Samples, seconds: float, bands: int) -> Samples:
    """Compute the spectrogram of `samples`, filled up with silence to `seconds`."""
    length = int(seconds * SAMPLE_RATE)
    padded = np.pad(samples[:length], (0, max(0, length - len(samples))))
    padded = np.pad(padded, FFT_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES][:-1]
    window = np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) ** 2
    spectrum = np.log10(np.maximum(power @ _filters(bands).T, 1e-10)).T
    spectrum = np.maximum(spectrum, spectrum.max() - DYNAMIC_RANGE)
    return np.ascontiguousarray((spectrum + 4) / 4, dtype=np.float32)


@cache
def _filters(bands: int) -> Samples:
    """Triangles over the frequencies of the transform, one for each band, of equal area."""
    edges = _hertz(np.linspace(0, _mel(SAMPLE_RATE / 2), bands + 2))
    ramps = edges[:, None] - np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE)[None]
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    area = (2 / (edges[2:] - edges[:-2]))[:, None]
    return (np.maximum(0, np.minimum(rising, falling)) * area).astype(np.float32)


def _mel(hertz: float) -> float:
    linear = LINEAR_HZ / HZ_PER_MEL
    return float(linear + np.log(hertz / LINEAR_HZ) / LOG_STEP)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = LINEAR_HZ / HZ_PER_MEL
    above = LINEAR_HZ * np.exp(LOG_STEP * (np.maximum(mel, linear) - linear))
    return np.where(mel >= linear, above, mel * HZ_PER_MEL)
