"""Compares what two evaluations say of the next token: numbers depend on the shape of batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.inference.runner.engines.engine import Context, Engine, Logits, Slice


def kl(one: Logits, other: Logits) -> float:
    """The Kullback-Leibler divergence of two answers, in nats."""
    log_p, log_q = log_softmax(one), log_softmax(other)
    return float((np.exp(log_p) * (log_p - log_q)).sum())


def log_softmax(logits: Logits) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    shifted = logits.astype(np.float64) - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def agree(one: Logits, other: Logits, most: float = 1e-3) -> bool:
    """Whether both say the same, up to rounding."""
    is_same = one.argmax() == other.argmax() or abs(one[one.argmax()] - one[other.argmax()]) < 0.05
    return bool(is_same) and abs(kl(one, other)) <= most


def evaluate(engine: Engine, context: Context, tokens: Sequence[int], past: int = 0) -> Logits:
    """The logits after the last of `tokens`, a copy."""
    done, logits = 0, np.empty((0, 0), np.float32)
    while done < len(tokens):
        part = tokens[done : done + engine.max_slice]
        (logits,) = engine.evaluate([Slice(context, part, past + done)], 1)
        done += len(part)
    return np.array(logits[-1, :])
