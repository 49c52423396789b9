"""The KV cache over llama.cpp's library: nothing but time can tell where a prefix came from.

Numbers depend on the shape of batches, so what is compared is what a whole evaluation from nothing
says: the likeliest token, and the divergence of all.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from app.inference.runner.engines.engine import Logits
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.kv.cache import IDLE_TOKENS, KvCache
from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.live import LiveContext, LiveSlice
from app.inference.runner.kv.snapshot import SnapshotKey
from tests.inference.numbers import agree, evaluate
from tests.tiny_architectures import DECODERS, RECURRENT, WINDOWED, write_architecture

CONTEXT = 256
MEGABYTE = 1 << 20
NEVER = 1e9
"""Seconds of silence before something is written by itself."""


@cache
def weights(name: str) -> Path:
    return write_architecture(Path(mkdtemp(prefix="wick-storm-")) / f"{name}.gguf", name)


@cache
def opened(name: str, cells: int, purpose: str) -> LlamaCppEngine:
    assert purpose
    return LlamaCppEngine(weights(name), CONTEXT, contexts=5, cells=cells)


def ids(count: int, seed: int | str = 0) -> list[int]:
    return random.Random(seed).choices(range(3, 400), k=count)


def cache_over(
    engine: LlamaCppEngine, folder: Path, ram: int, idle_tokens: int = IDLE_TOKENS
) -> KvCache:
    origin = SnapshotKey("m" * 32, engine.identity, engine.context_length)
    disk = DiskSnapshots(folder, origin, engine, 20 * MEGABYTE)
    return KvCache(
        engine,
        engine.max_contexts,
        ram_budget=ram,
        disk=disk,
        idle=NEVER,
        idle_tokens=idle_tokens,
    )


class Talker:
    """Evaluates prompts over a cache in random slices, and checks what comes of them."""

    def __init__(self, name: str, cells: int, chance: random.Random) -> None:
        self.engine = opened(name, cells, "tested")
        self._reference = opened(name, CONTEXT, "reference")
        self._chance = chance

    def reference(self, prompt: list[int]) -> Logits:
        context = self._reference.new_context()
        try:
            return evaluate(self._reference, context, prompt)
        finally:
            context.close()

    def read(self, pool: KvCache, live: LiveContext, prompt: list[int]) -> Logits:
        chance, logits = self._chance, None
        while (done := len(live.tokens)) < len(prompt):
            part = prompt[done : done + chance.randint(1, 60)]
            logits = pool.evaluate([LiveSlice(live, part)], 1)[0][-1, :].copy()
            if chance.random() < 0.3:
                live.checkpoint()
        assert logits is not None
        return logits

    def answer(self, pool: KvCache, live: LiveContext, prompt: list[int], count: int) -> list[int]:
        logits = self.read(pool, live, prompt)
        assert agree(self.reference(prompt), logits)
        said: list[int] = []
        for _ in range(count):
            said.append(int(logits.argmax()))
            logits = pool.evaluate([LiveSlice(live, said[-1:])], 1)[0][-1, :].copy()
        assert agree(self.reference([*prompt, *said]), logits)
        return said


@pytest.fixture
def pools() -> Iterator[list[KvCache]]:
    made: list[KvCache] = []
    yield made
    for pool in made:
        pool.close()


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("seed", range(2))
def test_a_storm_of_chats_says_what_an_empty_cache_says(
    pools: list[KvCache], tmp_path: Path, name: str, seed: int
) -> None:
    """Chats with common beginnings, in a pool that is too small for them, with restarts. Each chat
    has a canary of its own: a state that crossed would change what is said."""
    chance = random.Random(seed)
    talker = Talker(name, 2 * CONTEXT, chance)
    ram = chance.choice([0, MEGABYTE, 8 * MEGABYTE])
    pools.append(cache_over(talker.engine, tmp_path, ram))
    system = ids(60, "system")
    chats = {who: [*system, *ids(chance.randint(5, 60), who)] for who in "abcde"}
    tiers = set()
    for _ in range(20):
        who = chance.choice("abcde")
        if chance.random() < 0.2 and len(chats[who]) > 70:  # another branch of the chat
            del chats[who][chance.randint(61, len(chats[who])) :]
        prompt = [*chats[who], *ids(chance.randint(1, 12), chance.randrange(10**6))]
        live, cached, tier = pools[-1].acquire(prompt, who)
        assert cached == len(live.tokens)
        assert live.tokens == prompt[:cached]
        tiers.add(tier)
        said = talker.answer(pools[-1], live, prompt, 6)
        pools[-1].release(live)
        chats[who] = [*prompt, *said][:180]
        if chance.random() < 0.15:
            pools[-1].write_behind()
        if chance.random() < 0.1:
            pools[-1].save_all(60)
            pools.pop().close()
            pools.append(cache_over(talker.engine, tmp_path, ram))
    assert len(tiers) > 1


@pytest.mark.parametrize("name", [*RECURRENT, WINDOWED])
def test_a_state_that_cannot_be_cut_is_taken_only_where_it_can_be_used(
    pools: list[KvCache], tmp_path: Path, name: str
) -> None:
    talker = Talker(name, 2 * CONTEXT, random.Random(1))
    pool = cache_over(talker.engine, tmp_path, 8 * MEGABYTE)
    pools.append(pool)
    prompt = ids(120)
    live, *_ = pool.acquire(prompt, "a")
    pool.evaluate([LiveSlice(live, prompt[:100])], 1)
    live.checkpoint()
    pool.evaluate([LiveSlice(live, prompt[100:])], 1)
    pool.release(live)
    # It goes on from its end, goes back to its checkpoint, and reads again what is before that.
    for wanted, cached, tier in (
        ([*prompt, 5, 6], 120, "live"),
        ([*prompt[:110], 7], 100, "live"),
        ([*prompt[:50], 8], 0, "none"),
    ):
        live, found, found_tier = pool.acquire(wanted, "a")
        assert (found, found_tier) == (cached, tier)
        assert agree(talker.reference(wanted), talker.read(pool, live, wanted))
        pool.release(live)


@pytest.mark.parametrize("name", [*RECURRENT, WINDOWED])
@pytest.mark.parametrize("tier", ["ram", "disk"])
def test_a_state_goes_back_to_its_checkpoint_after_it_was_away(
    pools: list[KvCache], tmp_path: Path, name: str, tier: str
) -> None:
    """The template may write a message otherwise than the model did: its chat goes on anyhow."""
    talker = Talker(name, 2 * CONTEXT, random.Random(1))
    pool = cache_over(talker.engine, tmp_path, 8 * MEGABYTE, idle_tokens=0)
    pools.append(pool)
    prompt = ids(120)
    live, *_ = pool.acquire(prompt, "a")
    for end in (40, 100, 120):
        pool.evaluate([LiveSlice(live, prompt[len(live.tokens) : end])], 1)
        live.checkpoint()
    pool.release(live)
    if tier == "ram":
        pool.limit_idle()
    else:
        assert pool.save_all(60) == 1
        pools.pop().close()
        pools.append(cache_over(talker.engine, tmp_path, 8 * MEGABYTE))
    for wanted, cached, expected in (
        ([*prompt[:110], 7, 8], 100, tier),
        ([*prompt, 9], 120, "ram"),
    ):
        live, *found = pools[-1].acquire(wanted, "b")
        assert found == [cached, expected]
        assert agree(talker.reference(wanted), talker.read(pools[-1], live, wanted))
        pools[-1].release(live)


def test_chats_share_their_beginning_without_a_copy(pools: list[KvCache], tmp_path: Path) -> None:
    """Four chats of 255 tokens fit a pool of 512 cells, since 180 of each are the same."""
    talker = Talker("qwen3", 2 * CONTEXT, random.Random(2))
    pools.append(cache_over(talker.engine, tmp_path, 0))
    system = ids(180, "system")
    for who in "abcd":
        prompt = [*system, *ids(70, who)]
        live, _, tier = pools[0].acquire(prompt, who, shared=180)
        assert tier == ("none" if who == "a" else "shared")
        talker.answer(pools[0], live, prompt, 5)
        pools[0].release(live)
    for who in "abcd":
        prompt = [*system, *ids(70, who), 9]
        live, cached, tier = pools[0].acquire(prompt, who)
        assert (cached, tier) == (250, "live")
        pools[0].release(live)


def test_a_full_pool_never_reaches_whoever_asks(pools: list[KvCache], tmp_path: Path) -> None:
    """Two long chats at once in a pool for two, with others idle: those move to RAM."""
    talker = Talker("qwen3", 2 * CONTEXT, random.Random(3))
    pools.append(cache_over(talker.engine, tmp_path, 8 * MEGABYTE))
    for who in "abc":
        live, *_ = pools[0].acquire(ids(150, who), who)
        talker.answer(pools[0], live, ids(150, who), 3)
        pools[0].release(live)
    one, *_ = pools[0].acquire(ids(240, "x"), "x")
    other, *_ = pools[0].acquire(ids(240, "y"), "y")
    talker.read(pools[0], one, ids(240, "x"))
    talker.read(pools[0], other, ids(240, "y"))
    pools[0].release(one)
    pools[0].release(other)
    live, cached, tier = pools[0].acquire([*ids(150, "a"), 5], "a")
    assert (cached, tier) == (150, "ram")
    pools[0].release(live)


def test_many_threads_at_once_never_mix_chats(pools: list[KvCache], tmp_path: Path) -> None:
    """Chats side by side in one pool, while states are written and forgotten."""
    talkers = {names: Talker("qwen3", 3 * CONTEXT, random.Random(names)) for names in ("ab", "cd")}
    pool = cache_over(next(iter(talkers.values())).engine, tmp_path, 2 * MEGABYTE)
    pools.append(pool)
    system = ids(40, "system")
    failed: list[BaseException] = []
    over, one_at_a_time = threading.Event(), threading.Lock()

    def talk(names: str) -> None:
        talker = talkers[names]
        try:
            for turn in range(6):
                for who in names:
                    prompt = [*system, *ids(50, who), *ids(5, f"{who}{turn}")]
                    live, *_ = pool.acquire(prompt, who)
                    with one_at_a_time:  # the reference engine is one for all
                        talker.answer(pool, live, prompt, 3)
                    pool.release(live)
        except BaseException as error:
            failed.append(error)

    def disturb() -> None:
        for number in range(10**6):
            pool.write_behind()
            pool.delete(f"{number}")
            if over.wait(0.001):
                return

    crew = [threading.Thread(target=talk, args=(names,)) for names in talkers]
    other = threading.Thread(target=disturb)
    for thread in (*crew, other):
        thread.start()
    for thread in crew:
        thread.join()
    over.set()
    other.join()
    assert failed == []
