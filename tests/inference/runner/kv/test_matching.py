from __future__ import annotations

import pytest

from app.inference.runner.engines.engine import EngineError
from app.inference.runner.kv.cache import KvCache, pool_size
from tests.inference.scripted_engine import ScriptedEngine


def filled(pool: KvCache, *prompts: str) -> None:
    """Each prompt goes through the pool, one after another."""
    for prompt in prompts:
        live, common, _ = pool.acquire(list(prompt.encode()))
        live.evaluate(list(prompt.encode())[common:], 1)
        pool.release(live)


def cached(pool: KvCache, prompt: str) -> int:
    live, common, _ = pool.acquire(list(prompt.encode()))
    pool.release(live)
    return common


def test_a_chat_that_goes_on_finds_its_prefix() -> None:
    pool = KvCache(ScriptedEngine(), 3)
    filled(pool, "first chat", "second chat")
    live, common, _ = pool.acquire(list(b"first chat and more"))
    assert common == len("first chat")
    assert bytes(live.tokens) == b"first chat"


def test_one_token_is_always_left_to_evaluate() -> None:
    pool = KvCache(ScriptedEngine(), 1)
    filled(pool, "again")
    assert cached(pool, "again") == 4


def test_a_short_common_beginning_destroys_no_other_chat() -> None:
    engine = ScriptedEngine()
    pool = KvCache(engine, 2)
    filled(pool, "system. " + "a long chat" * 9)
    cached(pool, "system. another")
    assert len(engine.contexts) == 2
    assert cached(pool, "system. " + "a long chat" * 9 + "!") > 100


def test_without_room_the_least_recently_used_gives_way() -> None:
    pool = KvCache(ScriptedEngine(), 2)
    filled(pool, "aaaaaaaa", "bbbbbbbb", "aaaaaaaa", "cccccccc")
    assert cached(pool, "aaaaaaaa+") == 8
    assert cached(pool, "bbbbbbbb+") == 0


def test_contexts_in_use_are_never_handed_out_twice() -> None:
    pool = KvCache(ScriptedEngine(), 2)
    one, _, _ = pool.acquire(list(b"same"))
    two, _, _ = pool.acquire(list(b"same"))
    assert one is not two
    with pytest.raises(EngineError):
        pool.acquire(list(b"same"))
    pool.release(one)
    assert pool.acquire(list(b"same"))[0] is one


def test_after_a_failed_evaluation_nothing_is_held() -> None:
    engine = ScriptedEngine()
    pool = KvCache(engine, 1)
    filled(pool, "good prompt")

    def fail(_: object) -> None:
        raise EngineError("broken")

    engine.before = fail
    live, _, _ = pool.acquire(list(b"good prompt, bad step"))
    with pytest.raises(EngineError):
        live.evaluate(list(b" bad step"), 1)
    pool.release(live)
    assert cached(pool, "good prompt") == 0


def test_a_cache_lives_with_fewer_contexts_when_memory_is_full() -> None:
    pool = KvCache(ScriptedEngine(most_contexts=1), 5)
    filled(pool, "aaaa", "bbbb")
    assert cached(pool, "bbbb+") == 4


def test_a_cache_fails_when_not_even_one_context_fits() -> None:
    with pytest.raises(EngineError):
        KvCache(ScriptedEngine(most_contexts=0), 5).acquire(list(b"a"))


def test_closing_a_cache_closes_its_contexts() -> None:
    engine = ScriptedEngine()
    pool = KvCache(engine, 2)
    filled(pool, "a", "b")
    pool.close()
    assert all(context.closed for context in engine.contexts)


@pytest.mark.parametrize(("budget", "contexts"), [(0, 1), (10_000, 1), (20_480, 2), (10**12, 56)])
def test_the_memory_pays_for_so_many_contexts(budget: int, contexts: int) -> None:
    assert pool_size(budget, 1024, 10) == contexts
