from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.runner.engines.engine import Logits
from app.inference.runner.sampling import Sampler, logprobs, top_k_indices
from app.models.parameters import Sampling

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, seed=1)


def logits(*values: float) -> Logits:
    return np.array(values, np.float32)


def random_logits(seed: int, size: int = 5000) -> Logits:
    return (np.random.default_rng(seed).standard_normal(size) * 3).astype(np.float32)


def chosen(sampling: Sampling, values: Logits, times: int = 300) -> list[int]:
    sampler = Sampler(sampling)
    return [sampler.choose(values.copy(), []) for _ in range(times)]


def test_zero_temperature_takes_the_likeliest() -> None:
    assert set(chosen(Sampling(temperature=0), logits(1, 5, 3))) == {1}


def test_the_same_seed_makes_the_same_choices() -> None:
    values = random_logits(0)
    one, two = (chosen(Sampling(temperature=2, seed=7), values) for _ in range(2))
    assert one == two
    assert one != chosen(Sampling(temperature=2, seed=8), values)


def test_without_a_seed_every_request_differs() -> None:
    values = random_logits(0)
    assert chosen(Sampling(temperature=3), values) != chosen(Sampling(temperature=3), values)


@pytest.mark.parametrize("seed", [-1, 2**80])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert chosen(Sampling(seed=seed), random_logits(0), 5)


def test_draws_follow_the_probabilities() -> None:
    counts = np.bincount(chosen(PLAIN, logits(*np.log([0.5, 0.3, 0.2])), 4000)) / 4000
    assert counts == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


def test_top_k_leaves_the_k_likeliest() -> None:
    sampling = Sampling(temperature=100, top_k=2, top_p=1, repetition_penalty=1, seed=0)
    assert set(chosen(sampling, logits(1, 4, 2, 3))) == {1, 3}


def test_top_p_leaves_the_smallest_set_that_reaches_p() -> None:
    values = logits(*np.log([0.5, 0.3, 0.15, 0.05]))
    for p, left in ((0.4, {0}), (0.7, {0, 1}), (0.9, {0, 1, 2})):
        sampling = Sampling(temperature=1, top_k=0, top_p=p, min_p=0, repetition_penalty=1, seed=0)
        assert set(chosen(sampling, values)) == left


def test_top_p_over_a_flat_vocabulary_looks_past_the_head() -> None:
    sampling = Sampling(temperature=1, top_k=0, top_p=0.99, repetition_penalty=1, seed=0)
    assert len(set(chosen(sampling, np.zeros(5000, np.float32), 3000))) > 1500


def test_min_p_leaves_those_near_the_likeliest() -> None:
    sampling = Sampling(temperature=1, top_k=0, top_p=1, min_p=0.5, repetition_penalty=1, seed=0)
    assert set(chosen(sampling, logits(*np.log([0.4, 0.3, 0.1])))) == {0, 1}


def test_repetition_penalty_lowers_recent_tokens_of_either_sign() -> None:
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0, repetition_window=2))
    assert sampler.choose(logits(3, 2, 0), [0]) == 1
    assert sampler.choose(logits(-1, -1.5, -9), [0]) == 1
    assert sampler.choose(logits(3, 2, 0), [0, 2, 2]) == 0  # beyond the window


def test_the_end_of_turn_is_never_penalised() -> None:
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), exempt={0})
    assert sampler.choose(logits(3, 2, 0), [0, 0]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1e-9, 0.7])
def test_broken_logits_still_choose_a_token(bad: float, temperature: float) -> None:
    sampler = Sampler(Sampling(temperature=temperature, top_k=0))
    for values in (logits(bad, 1, 2), logits(bad, bad, bad)):
        assert 0 <= sampler.choose(values, [0]) < 3


@given(
    st.integers(0, 100),
    st.floats(0, 5),
    st.integers(0, 60),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.5, 2),
)
def test_every_setting_chooses_an_allowed_token(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    values = random_logits(seed, 50)
    sampling = Sampling(temperature, top_p, top_k, min_p, penalty, seed=seed)
    token = Sampler(sampling).choose(values.copy(), [])
    rank = int((values > values[token]).sum())
    assert rank < (top_k or 50)
    if temperature > 0 and min_p > 0:
        assert np.exp((values[token] - values.max()) / max(temperature, 1e-6)) >= min_p * 0.999


def test_biases_are_added_to_logits() -> None:
    sampler = Sampler(Sampling(temperature=0), bias=((0, 3.0), (2, -100.0), (99, 100.0)))
    assert [sampler.choose(logits(1, 3, 9), []) for _ in range(2)] == [0, 0]


def test_penalties_count_what_the_answer_has_said() -> None:
    plain = Sampling(temperature=0, repetition_penalty=1, frequency_penalty=1, presence_penalty=0.5)
    sampler = Sampler(plain, exempt=(2,))
    # 1 begins with a lead of 3.2: 1.5 are gone after the first time, 2.5 after the second.
    chosen = [sampler.choose(logits(1.0, 4.2, 0.0), [1] * 9) for _ in range(5)]
    assert chosen == [1, 1, 1, 0, 1]
    spared = Sampler(plain, exempt=(1,))
    assert {spared.choose(logits(1.0, 1.2, 0.0), []) for _ in range(5)} == {1}


def test_logprobs_sum_to_one_and_leave_the_logits_alone() -> None:
    values = logits(1, 5, float("nan"), float("-inf"))
    before = values.copy()
    likely = logprobs(values)
    assert np.exp(likely).sum() == pytest.approx(1)
    assert likely.argmax() == 1
    np.testing.assert_array_equal(values, before)
    assert list(top_k_indices(likely, 2)) == [1, 0]


@given(
    st.integers(1, 3000),
    st.integers(1, 200),
    st.sampled_from([0, 1, 30]),
    st.integers(0, 1000),
)
def test_the_likeliest_are_those_of_a_whole_sort(
    size: int, count: int, kinds: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = random_logits(seed, size)
    if kinds:  # many are equal, or impossible
        values = random.integers(-kinds, kinds + 1, size).astype(np.float32)
        values[values == -kinds] = -np.inf
    expected = np.argsort(-values, kind="stable")[:count]
    found = top_k_indices(values, count)
    assert values[found].tolist() == values[expected].tolist()
    assert len(set(found.tolist())) == len(expected)
