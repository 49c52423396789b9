"""Greedy answers to programs are the same whatever was asked before; with the real engine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.inference.context_window import FittedPrompt
from app.inference.protocol import Delta, Finished, Generate
from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.live import LiveContext
from app.inference.runner.kv.snapshot import SnapshotKey
from app.inference.runner.sequence import RunnerContext, RunningSequence
from app.inference.runner.threads import BLOCK, ThreadTuner
from app.models.parameters import Sampling
from app.models.text.tokenizer import Tokenizer
from tests.inference.stepping import run_alone
from tests.inference.tiny import tiny_model

GREEDY, DRAWN = Sampling(temperature=0, repetition_penalty=1), Sampling(temperature=1, seed=3)
CONTEXT = 512


class Remembers(Tokenizer):
    def remember(self, *_: object) -> None: ...
    def remember_calls(self, *_: object) -> None: ...

    def token_runs(self, _: object) -> tuple[()]:
        return ()


class Hurried(ThreadTuner):
    """Measures what the test says: slices of every size come up."""

    def __init__(self, seed: int) -> None:
        super().__init__(1)
        self._draw = random.Random(seed)

    def record(self, kind: object, threads: int, tokens: int, seconds: float) -> None:
        each = self._draw.choice([0.0015, 0.003, 0.0045, 0.009, 0.02])
        super().record("prefill", threads, 1, each)


@pytest.fixture(scope="module")
def engine() -> Iterator[CtransformersEngine]:
    made = CtransformersEngine(tiny_model().weights_path, CONTEXT)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokenizer() -> Remembers:
    return Remembers.load(tiny_model().folder)


def answer(
    pool: KvCache,
    tokenizer: Remembers,
    prompt: Sequence[int],
    sampling: Sampling = GREEDY,
    *,
    chat: str = "",
    seed: int = 0,
    tokens: int = 12,
) -> tuple[list[float], int]:
    """How likely each token of an answer was, and how many of its prompt came from the cache."""
    request = Generate(
        id=1,
        turns=(),
        text="",
        sampling=sampling,
        max_tokens=tokens,
        chat=chat,
        top_logprobs=0,
    )
    room = RunnerContext(pool, CONTEXT, tokenizer, Hurried(seed))
    running = RunningSequence(request, FittedPrompt(list(prompt), 0, shared=len(prompt)), room)
    cached, said = 0, list[float]()
    for event in run_alone(running, room):
        if isinstance(event, Finished):
            cached = event.cached_tokens
        elif isinstance(event, Delta):
            said += [token.logprob or 0.0 for token in event.tokens]
    return said, cached


def ids(seed: int, count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(3, 250, count)]


SYSTEM = ids(0, 150)
PROMPTS = [SYSTEM + ids(number, 20 + 17 * number) for number in range(1, 6)]


def test_slices_that_end_at_blocks_compute_the_same_numbers(engine: CtransformersEngine) -> None:
    prompt = PROMPTS[3]

    def logits(*ends: int, cut: int | None = None) -> bytes:
        live = LiveContext(engine, engine.new_context())
        for end in [*ends, len(prompt)]:
            if cut is not None and len(live.tokens) > cut:
                live.cut(cut)
                cut = None
            found = live.evaluate(prompt[len(live.tokens) : end], 1).tobytes()
        live.close()
        return found

    one = logits(*range(BLOCK, len(prompt), BLOCK))
    assert logits(*range(2 * BLOCK, len(prompt), 2 * BLOCK)) == one
    assert logits(BLOCK, 3 * BLOCK, 4 * BLOCK) == one
    assert logits(2 * BLOCK, 3 * BLOCK, 5 * BLOCK, cut=BLOCK + 8) == one


@pytest.mark.parametrize("seed", range(6))
def test_many_histories_lead_to_the_same_answers(
    engine: CtransformersEngine, tokenizer: Remembers, tmp_path: Path, seed: int
) -> None:
    fresh = [answer(KvCache(engine, 1), tokenizer, prompt)[0] for prompt in PROMPTS]
    draw = random.Random(seed)
    disk = DiskSnapshots(tmp_path, SnapshotKey("m", "l", CONTEXT), engine, 64 << 20)
    pool = KvCache(engine, 2, ram_budget=8 << 20, disk=disk)
    reused = 0
    for step in range(24):
        number = draw.randrange(len(PROMPTS))
        kind = draw.randrange(4)
        if kind == 0:
            answer(pool, tokenizer, PROMPTS[number], DRAWN, chat=f"c{number}", seed=step)
        elif kind == 1:
            answer(pool, tokenizer, PROMPTS[number], DRAWN, seed=step)
        else:
            said, cached = answer(pool, tokenizer, PROMPTS[number], seed=step)
            assert said == fresh[number], (step, number, cached)
            reused += cached > 0
    pool.close()
    assert reused


def test_a_second_request_reads_only_what_does_not_fill_a_block(
    engine: CtransformersEngine, tokenizer: Remembers
) -> None:
    pool = KvCache(engine, 1)
    first, nothing = answer(pool, tokenizer, PROMPTS[0])
    again, cached = answer(pool, tokenizer, PROMPTS[0])
    assert (first, nothing) == (again, 0)
    assert cached == (len(PROMPTS[0]) - 1) // BLOCK * BLOCK
    pool.close()


def test_a_chat_that_need_not_be_exact_goes_on_from_all_it_holds(
    engine: CtransformersEngine, tokenizer: Remembers
) -> None:
    pool = KvCache(engine, 1)
    answer(pool, tokenizer, PROMPTS[0], chat="c")
    _, cached = answer(pool, tokenizer, PROMPTS[0], chat="c")
    assert cached == len(PROMPTS[0]) - 1
    pool.close()


def test_the_count_of_exact_tokens_is_kept_with_a_state(
    engine: CtransformersEngine, tmp_path: Path
) -> None:
    live = LiveContext(engine, engine.new_context(), chat="c")
    live.evaluate(SYSTEM[:BLOCK], 1)
    live.evaluate(SYSTEM[BLOCK : BLOCK + 5], 1)
    live.evaluate(SYSTEM[BLOCK + 5 : 2 * BLOCK], 1)  # its beginning was computed otherwise
    assert live.exact == BLOCK
    snapshot = live.snapshot()
    assert snapshot is not None
    disk = DiskSnapshots(tmp_path, SnapshotKey("m", "l", CONTEXT), engine, 64 << 20)
    assert disk.save(snapshot)
    entries = DiskSnapshots(tmp_path, SnapshotKey("m", "l", CONTEXT), engine, 64 << 20).entries()
    assert [entry.exact for entry in entries] == [BLOCK]
    live.close()
