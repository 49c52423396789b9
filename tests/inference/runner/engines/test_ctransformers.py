"""The real library on a tiny real model."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelLoadError
from app.inference.protocol import MAX_CONTEXTS
from app.inference.runner.engines.ctransformers import (
    MAX_SLICE,
    CtransformersContext,
    CtransformersEngine,
    variant,
)
from app.inference.runner.engines.engine import EngineError
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.setup import ThrottledCallback
from tests.inference.tiny import CONTEXT, tiny_model


@pytest.fixture
def context(engine: CtransformersEngine) -> Iterator[CtransformersContext]:
    context = engine.new_context()
    yield context
    context.close()


def ids(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(3, 400), k=count)


def greedy(engine: CtransformersEngine, prompt: list[int], count: int = 12) -> list[int]:
    """From an empty cache, the whole prompt at once."""
    context, tokens = engine.new_context(), list(prompt)
    logits = context.evaluate(prompt, 0, 1)
    for _ in range(count):
        tokens.append(int(logits.argmax()))
        logits = context.evaluate(tokens[-1:], len(tokens) - 1, 1)
    context.close()
    return tokens[len(prompt) :]


def test_logits_may_be_changed_and_cover_the_vocabulary(
    context: CtransformersContext, engine: CtransformersEngine
) -> None:
    logits = context.evaluate([5], 0, 1)
    assert logits.shape == (engine.vocab_size,)
    assert logits.dtype == np.float32
    kept = logits.copy()
    logits[:] = 0
    assert np.array_equal(context.evaluate([5], 0, 1), kept)


@pytest.mark.parametrize(
    ("tokens", "past"),
    [
        ([], 0),
        ([1] * (MAX_SLICE + 1), 0),
        ([-1], 0),
        ([10**6], 0),
        ([1], -1),
        ([1], CONTEXT),
        ([1, 2], CONTEXT - 1),
    ],
)
def test_arguments_that_would_crash_the_library_are_refused(
    context: CtransformersContext, tokens: list[int], past: int
) -> None:
    with pytest.raises(ValueError):
        context.evaluate(tokens, past, 1)


def test_a_closed_context_is_refused(engine: CtransformersEngine) -> None:
    context = engine.new_context()
    context.close()
    context.close()
    with pytest.raises(ValueError):
        context.evaluate([1], 0, 1)


def test_saving_leaves_what_was_evaluated_last_to_be_read(context: CtransformersContext) -> None:
    logits = context.evaluate(ids(20), 0, 1)
    kept, meaning = logits.copy(), context.embedding()
    context.save(10)
    assert np.array_equal(logits, kept)
    assert np.array_equal(context.embedding(), meaning)
    assert meaning.any()


def test_contexts_stop_before_the_library_aborts(engine: CtransformersEngine) -> None:
    contexts = [engine.new_context() for _ in range(MAX_CONTEXTS)]
    with pytest.raises(EngineError):
        engine.new_context()
    for context in contexts:
        context.close()
    engine.new_context().close()


def test_the_last_position_of_the_window_can_be_used(context: CtransformersContext) -> None:
    for start in range(0, CONTEXT, 64):
        logits = context.evaluate(ids(64), start, 1)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("seed", range(12))
def test_reused_and_truncated_caches_say_the_same(engine: CtransformersEngine, seed: int) -> None:
    """However a prompt is cut into slices, and whatever stood in the cache before."""
    chance = random.Random(seed)
    pool = KvCache(engine, 2)
    history = ids(100, seed)
    for turn in range(5):
        prompt = history[: chance.randint(1, 100)] + ids(chance.randint(0, 20), seed + turn)
        live, _, _ = pool.acquire(prompt)
        while (done := len(live.tokens)) < len(prompt):
            cut = chance.randint(1, 40)
            logits = live.evaluate(prompt[done : done + cut], chance.choice([1, 2]))
        answer = []
        for _ in range(12):
            answer.append(int(logits.argmax()))
            logits = live.evaluate(answer[-1:], 1)
        pool.release(live)
        assert answer == greedy(engine, prompt)
    pool.close()


def test_contexts_side_by_side_say_the_same_as_alone(engine: CtransformersEngine) -> None:
    prompts = [ids(20, seed) for seed in range(6)]
    alone = [greedy(engine, prompt) for prompt in prompts]
    together: dict[int, list[int]] = {}

    def run(number: int) -> None:
        together[number] = greedy(engine, prompts[number])

    crew = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert [together[number] for number in range(6)] == alone


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 100])
def test_a_file_that_is_no_model_is_refused_with_a_reason(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"cannot load this model: .+\.$"):
        CtransformersEngine(file, CONTEXT)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError):
        CtransformersEngine(tmp_path / "missing.gguf", CONTEXT)


@pytest.mark.parametrize(
    ("system", "machine", "flags", "folder"),
    [
        ("Linux", "x86_64", {"avx2", "fma", "f16c", "avx"}, "avx2"),
        ("Linux", "x86_64", {"avx", "f16c"}, "avx"),
        ("Linux", "x86_64", set(), "basic"),
        ("Windows", "AMD64", {"avx2", "fma", "f16c", "avx"}, "avx2"),
        ("Darwin", "arm64", set(), "basic"),
        ("Linux", "aarch64", set(), ""),
    ],
)
def test_the_build_fits_the_processor(
    system: str, machine: str, flags: set[str], folder: str
) -> None:
    assert variant(system, machine, flags) == folder


def test_loading_reports_its_progress() -> None:
    reported: list[float] = []
    CtransformersEngine(tiny_model().weights_path, CONTEXT, reported.append).close()
    assert reported == sorted(reported)
    assert reported[-1] == 1.0
    assert len(reported) > 2


def test_progress_is_reported_a_few_times_a_second_at_most() -> None:
    now, reported = 0.0, list[float]()
    notify = ThrottledCallback(reported.append, seconds=0.25, clock=lambda: now)
    for step in range(127):
        now = step / 128
        notify(now)
    assert reported == [0.25, 0.5, 0.75]
