"""Chooses the next token from the logits: penalties, top-k, temperature, top-p, min-p, a draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.inference.runner.engines.engine import Logits
from app.models.parameters import Sampling

_HEAD_TOKENS = 1024  # tokens
GROUP_TOKENS = 64
"""Tokens of a group, of whose largest logits the largest are found first."""
_NEGLIGIBLE = float(np.log(1e12))


class Grammar(Protocol):
    """Protocol of what limits an answer, token by token."""

    def mask(self, logits: Logits) -> None:
        """Make tokens that may not come next impossible, in place."""

    def accept(self, token: int) -> None: ...


class Sampler:
    """Sampler of one request. It owns its random numbers: same seed and logits, same tokens.

    `exempt`: ids that the repetition penalty spares. A model whose end-of-turn token is punished
    for standing in the prompt rambles on for ever. `bias`: is added to the logits of these ids.
    """

    def __init__(
        self,
        sampling: Sampling,
        exempt: Collection[int] = (),
        bias: Sequence[tuple[int, float]] = (),
        grammar: Grammar | None = None,
    ) -> None:
        self._sampling = sampling
        self._exempt = frozenset(exempt)
        self._bias = bias
        self._grammar = grammar
        self._said: Counter[int] = Counter()
        self._is_steered = bool(
            bias or grammar or sampling.frequency_penalty or sampling.presence_penalty
        )
        seed = sampling.seed
        # Any integer is a seed for the person, NumPy takes only those from zero up.
        self._rng = np.random.default_rng(None if seed is None else seed % 2**64)

    def follow(self, grammar: Grammar | None) -> None:
        """Constrain the tokens from now on to a grammar."""
        self._grammar = grammar
        self._is_steered = self._is_steered or grammar is not None

    def choose(self, logits: Logits, history: Sequence[int]) -> int:
        """Choose a token id. `logits`: shape (vocab,), changed in place; `history`: ids so far."""
        _sanitize(logits)
        self._penalise(logits, history)
        if not self._is_steered:
            return self._sample(logits)
        self._apply_biases(logits)
        token = self._sample(logits)
        self._said[token] += 1
        if self._grammar is not None:
            self._grammar.accept(token)
        return token

    def _apply_biases(self, logits: Logits) -> None:
        """Apply the biases and penalties that only few requests use."""
        frequency, presence = self._sampling.frequency_penalty, self._sampling.presence_penalty
        for token, count in self._said.items() if frequency or presence else ():
            if token not in self._exempt:
                logits[token] -= count * frequency + presence
        for token, bias in self._bias:
            if 0 <= token < logits.size:
                logits[token] += bias
        if self._grammar is not None:
            self._grammar.mask(logits)

    def _sample(self, logits: Logits) -> int:
        if self._sampling.temperature <= 0 or self._sampling.top_k == 1:
            return int(logits.argmax())
        if 0 < self._sampling.top_k < logits.size:
            near = top_k_indices(logits, self._sampling.top_k)
        else:
            # What is less than a trillionth as likely as the best would never be drawn.
            least = logits.max() - _NEGLIGIBLE * self._sampling.temperature
            near = np.flatnonzero(logits >= least)
        ids, weights = self._candidates(logits[near])
        return int(near[ids[self._draw(weights)]])

    def _penalise(self, logits: Logits, history: Sequence[int]) -> None:
        penalty, window = self._sampling.repetition_penalty, self._sampling.repetition_window
        if penalty == 1.0 or penalty <= 0 or window <= 0:
            return
        ids = np.array(history[-window:], np.int64)
        ids = ids[(ids >= 0) & (ids < logits.size)]  # those below 0 are no tokens
        spared = [i for i in self._exempt if i < logits.size]
        values, kept = logits[ids], logits[spared]
        logits[ids] = np.where(values > 0, values / penalty, values * penalty)
        logits[spared] = kept

    def _candidates(self, logits: Logits) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the ids that the filters leave, and their weights (that of the likeliest is 1)."""
        sampling = self._sampling
        weights = self._weights(logits)
        total = float(weights.sum())
        if sampling.top_p < 1:
            # Sorting many takes milliseconds, and the head nearly always holds enough.
            ids = top_k_indices(logits, _HEAD_TOKENS)
            if weights[ids].sum() < sampling.top_p * total:
                ids = np.argsort(-logits)
            weights = weights[ids]
            kept = int(np.searchsorted(np.cumsum(weights), sampling.top_p * total)) + 1
            ids, weights = ids[:kept], weights[:kept]
        else:
            ids = np.arange(logits.size)
        if sampling.min_p > 0:
            likely = weights >= min(sampling.min_p, 1.0)
            ids, weights = ids[likely], weights[likely]
        return ids, weights

    def _weights(self, logits: Logits) -> NDArray[np.float64]:
        # Divided in double precision: a tiny temperature would overflow a float.
        scaled: NDArray[np.float64] = (logits - logits.max()).astype(np.float64)
        scaled /= max(self._sampling.temperature, 1e-6)
        np.exp(scaled, out=scaled)
        return scaled

    def _draw(self, weights: NDArray[np.float64]) -> int:
        edges = np.cumsum(weights)
        place = np.searchsorted(edges, self._rng.random() * edges[-1], side="right")
        return min(int(place), weights.size - 1)


def _sanitize(logits: Logits) -> None:
    """Make every logit finite: a damaged model must not end in an exception or in id -1."""
    if not np.isfinite(logits.max()):  # one pass, in which NaN survives; -inf does no harm
        np.nan_to_num(logits, copy=False, nan=-1e30, posinf=1e30, neginf=-1e30)


def logprobs(logits: Logits) -> NDArray[np.float64]:
    """Return the logarithm of each token's probability. `logits` are not changed."""
    values: NDArray[np.float64] = np.nan_to_num(logits, nan=-1e30).astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    return values


def top_k_indices(logits: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return the ids of the `count` largest logits, largest first; ties go to the smaller id."""
    ids = _likely_ids(logits, count)
    if count < ids.size:
        ids = np.sort(ids[np.argpartition(logits[ids], -count)[-count:]])
    return ids[np.argsort(-logits[ids], kind="stable")]


def _likely_ids(logits: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return ids in their order among which the `count` largest logits are.

    Partitioning a whole vocabulary takes milliseconds. So it is dealt out into groups, whose
    largest logits are found at once: the groups with the `count` largest of these have them all.
    """
    groups = logits.size // GROUP_TOKENS
    if count >= groups // 2:
        return np.arange(logits.size)
    dealt = logits[: groups * GROUP_TOKENS].reshape(GROUP_TOKENS, groups)
    best = dealt.max(axis=0)
    least = np.partition(best, -count)[-count]
    near = np.flatnonzero(best >= least)
    ids = (np.arange(GROUP_TOKENS)[:, None] * groups + near).ravel()
    rest = np.arange(groups * GROUP_TOKENS, logits.size)
    return np.concatenate([ids[logits[ids] >= least], rest])
