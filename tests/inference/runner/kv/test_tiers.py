"""The three tiers together: whatever is kept, moved and thrown away, the tokens stay right."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.inference import kv_files
from app.inference.kv_files import chat_key
from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.inference.runner.engines.engine import EngineError
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.snapshot import SnapshotKey
from tests.inference.scripted_engine import Evaluation, ScriptedEngine
from tests.inference.tiny import CONTEXT
from tests.patience import PATIENCE

MEGABYTE = 1 << 20
NEVER = 1e6  # seconds
pools: list[KvCache] = []


@pytest.fixture(autouse=True)
def end_of_pools() -> Iterator[None]:
    yield
    while pools:
        pools.pop().close()


class Store:
    """A pool over one folder; `again` is the pool of the next process."""

    def __init__(
        self,
        folder: Path,
        *,
        contexts: int = 1,
        ram: int = MEGABYTE,
        disk: int = 64 * MEGABYTE,
        engine: ScriptedEngine | None = None,
        write: Callable[[int, memoryview], int] = os.write,
        idle: float = NEVER,
    ) -> None:
        self.folder = folder
        self.engine = engine or ScriptedEngine()
        origin = SnapshotKey("m" * 32, self.engine.identity, self.engine.context_length)
        self.disk = DiskSnapshots(folder, origin, self.engine, disk, write=write)
        kept = self.disk if disk else None
        self.pool = KvCache(self.engine, contexts, ram_budget=ram, disk=kept, idle=idle)
        pools.append(self.pool)

    def turn(self, chat: str, text: str, *, owner: str = "", shared: int = 0) -> tuple[int, str]:
        """How much of the text was there already, and from where. All of it is held then."""
        ids = list(text.encode())
        live, cached, tier = self.pool.acquire(ids, chat, owner=owner, shared=shared)
        assert live.tokens == ids[:cached]
        assert live.context.tokens[:cached] == ids[:cached]  # type: ignore[attr-defined]
        live.evaluate(ids[cached:], 1)
        self.pool.release(live)
        return cached, tier

    def live(self) -> set[str]:
        return {live.chat for live in self.pool._contexts.all}

    def on_disk(self) -> set[str]:
        return {path.stem for path in kv_files.files(self.folder)}


def long(name: str, size: int = 100) -> str:
    return (f"{name} says " * size)[:size]


def test_memory_holds_nothing_of_a_deleted_user_that_belonged_to_no_chat(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=3)
    store.turn("", long("gone in memory"), owner="7")
    for number in range(3):  # which push that out, into snapshots in memory
        store.turn("", long(f"{number} stays"), owner="8")
    in_use, *_ = store.pool.acquire(list(b"in use"), "", owner="7")
    store.turn("", long("gone alive"), owner="7")
    assert {s.owner for s in store.pool._kept.in_memory()} >= {"7"}
    store.pool.delete("", "7")
    in_use.evaluate(list(b"in use"), 1)
    store.pool.release(in_use)
    held = {s.owner for s in store.pool._kept.in_memory()} | {
        c.owner for c in store.pool._contexts.all
    }
    assert "7" not in held
    assert "8" in held


def test_a_chat_that_gave_way_comes_back_from_memory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.turn("a", long("a"))
    store.turn("b", long("b"))
    assert store.turn("a", long("a") + "more") == (100, "ram")
    assert store.turn("a", long("a") + "more and more") == (104, "live")
    assert store.turn("b", long("b") + "more") == (100, "ram")


def test_a_state_that_left_memory_comes_back_from_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path, ram=0)
    store.turn("a", long("a"))
    store.turn("b", long("b"))
    # Whether the background thread has written it yet or not, it is found.
    cached, tier = store.turn("a", long("a") + "more")
    assert cached == 100
    assert tier in ("ram", "disk")


def test_lower_limits_give_memory_back_and_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=4)
    for chat in "abcdef":  # two of them gave way to memory
        store.turn(chat, long(chat))
    taken, _, _ = store.pool.acquire(list(long("g").encode()), "g")
    store.pool.set_limits(2, 0)
    assert [len(store.pool._contexts.all), store.pool._kept._ram.size] == [2, 0]
    assert taken in store.pool._contexts.all  # what is in use stays
    store.pool.release(taken)
    assert store.pool._kept._writer is not None
    while store.pool._kept._writer.pending():
        time.sleep(0.001)
    assert store.on_disk() == {chat_key(chat) for chat in "abcdef"} - store.live()
    assert store.turn("a", long("a") + "more") == (100, "disk")
    store.pool.set_limits(3, MEGABYTE)
    store.turn("h", long("h"))
    assert len(store.pool._contexts.all) == 3
    for size in (1, 0, -5):
        store.pool.set_limits(size, 0)
    assert len(store.pool._contexts.all) == 1


def test_of_several_limits_at_once_the_latest_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    settings = [(1, 0), (3, MEGABYTE), (2, 5)]
    threads = []
    with store.pool._acquiring:
        for limits in settings:
            threads.append(threading.Thread(target=store.pool.set_limits, args=limits))
            threads[-1].start()
            while store.pool._limits != limits:
                time.sleep(0.001)
    for thread in threads:
        thread.join(PATIENCE)
    assert (store.pool._contexts._size, store.pool._kept._ram._budget) == settings[-1]


def test_save_all_waits_for_states_that_lower_limits_let_go(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=3)
    for chat in "abc":
        store.turn(chat, long(chat))
    begun, go_on = threading.Event(), threading.Event()

    def wait(what: str) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    store.engine.copying = wait
    letting_go = threading.Thread(target=store.pool.set_limits, args=(1, 0))
    ending = threading.Thread(target=store.pool.save_all, args=(PATIENCE,))
    letting_go.start()
    assert begun.wait(PATIENCE)
    ending.start()
    go_on.set()
    for thread in (letting_go, ending):
        thread.join(PATIENCE)
    assert store.on_disk() == {chat_key(chat) for chat in "abc"}


def test_after_a_restart_a_chat_comes_from_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=2)
    for chat in "abc":
        store.turn(chat, long(chat))
    assert store.pool.save_all(60) == 3
    again = Store(tmp_path, contexts=2)
    for chat in "abc":
        assert again.turn(chat, long(chat) + "more") == (100, "disk")


def test_the_most_recently_used_is_saved_first(tmp_path: Path) -> None:
    clock = iter(range(1000))
    store = Store(tmp_path, contexts=2)
    store.pool._time = lambda: float(next(clock))
    for chat in "abcd":
        store.turn(chat, long(chat))
    assert store.pool.save_all(2.5) == 2  # each look at the clock takes a second
    assert store.on_disk() == {chat_key("c"), chat_key("d")}


def test_writing_behind_takes_the_newest_and_only_in_silence(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=3)
    for chat in "ab":
        store.turn(chat, long(chat))
    live, *_ = store.pool.acquire([1, 2], "c")
    assert store.pool.write_behind() == 0
    store.pool.release(live)
    assert store.pool.write_behind() > 400
    assert store.on_disk() == {chat_key("b")}
    assert store.pool.write_behind() > 400
    assert store.pool.write_behind() == 0
    store.turn("b", long("b") + "short")
    assert store.pool.write_behind() == 0  # not worth it
    store.turn("b", long("b") + long("much more"))
    assert store.pool.write_behind() > 800


def test_silence_starts_writing_behind(tmp_path: Path) -> None:
    written = threading.Event()

    def write(descriptor: int, data: memoryview) -> int:
        written.set()
        return os.write(descriptor, data)

    store = Store(tmp_path, write=write, idle=0.0)
    store.turn("a", long("a"))
    assert written.wait(PATIENCE)


def test_another_chats_beginning_is_shared_from_every_tier(tmp_path: Path) -> None:
    system = long("the system prompt")
    store = Store(tmp_path, contexts=2)
    store.turn("a", system + long("a"))
    assert store.turn("b", system + long("b")) == (100, "shared")
    assert store.turn("c", system + long("c")) == (100, "shared")  # takes the place of a
    assert store.turn("a", system + long("a") + "more") == (200, "ram")
    store.pool.save_all(60)
    assert Store(tmp_path).turn("d", system + long("d")) == (100, "disk")


def test_a_context_at_work_is_copied_from(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=2)
    live, *_ = store.pool.acquire(list(long("system", 200).encode()), "a")
    live.evaluate(list(long("system", 150).encode()), 1)
    assert store.turn("b", long("system", 150) + "b") == (150, "shared")
    store.pool.release(live)


def test_a_chat_that_goes_back_cuts_its_own_without_copying(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=3)
    store.turn("a", long("a", 100) + "|" + long("answer", 300))
    assert store.turn("a", long("a", 100) + "again") == (100, "live")
    assert len(store.engine.contexts) == 1
    assert not store.pool._kept._ram.all()


def test_an_earlier_state_of_a_chat_never_replaces_a_later_one(tmp_path: Path) -> None:
    store = Store(tmp_path, ram=2000)
    store.turn("a", long("a", 100) + "|" + long("first answer"))
    store.turn("b", long("b"))  # a is in memory
    store.turn("a", long("a", 100) + "?" + long("second answer"))
    assert store.pool.write_behind() > 0
    store.turn("c", long("c"))  # the first answer leaves memory
    store.turn("d", long("d"))
    store.turn("e", long("e"))
    store.pool.save_all(60)
    again = Store(tmp_path)
    assert again.turn("a", long("a", 100) + "?" + long("second answer") + "!") == (201, "disk")


def test_little_is_not_worth_keeping(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.turn("a", long("a", 63))
    store.turn("b", long("b"))
    assert not store.pool._kept._ram.all()
    store.turn("b", long("b") + "more")
    store.turn("c", long("c"))
    store.turn("b", long("b") + "more")
    store.turn("c", long("c") + "more")
    assert len(store.pool._kept._ram.all()) == 2  # neither was copied again for four letters


def test_memory_keeps_to_its_budget_and_drops_the_oldest(tmp_path: Path) -> None:
    size = 8 * 100
    store = Store(tmp_path, ram=3 * size, disk=0)
    for chat in "abcdef":
        store.turn(chat, long(chat))
    assert store.pool._kept._ram.size == 3 * size
    assert store.turn("c", long("c") + "!") == (100, "ram")  # and f leaves its context: d goes
    assert [s.chat for s in store.pool._kept._ram.all()] == [chat_key(c) for c in "ecf"]
    assert store.turn("d", long("d") + "!")[1] == "none"


def test_deleting_leaves_nothing_of_a_chat_and_all_of_others(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=2)
    for chat in "abcd":
        store.turn(chat, long(chat))
    store.pool.save_all(60)
    for chat in "ad":
        store.pool.delete(chat)
    store.pool.delete("")
    store.pool.delete("never seen")
    assert store.on_disk() == {chat_key("b"), chat_key("c")}
    assert store.turn("a", long("a") + "!")[0] == 0
    assert store.turn("d", long("d") + "!")[0] == 0
    assert store.turn("b", long("b") + "!")[0] == 100
    assert store.turn("c", long("c") + "!")[0] == 100


def test_a_chat_deleted_while_it_runs_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    live, *_ = store.pool.acquire(list(long("a").encode()), "a")
    live.evaluate(list(long("a").encode()), 1)
    store.pool.delete("a")
    store.pool.release(live)
    assert store.engine.contexts[0].closed
    assert store.turn("b", long("a") + "b")[0] == 0
    store.pool.save_all(60)
    assert chat_key("a") not in store.on_disk()


def test_a_chat_deleted_while_it_is_copied_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=2)
    store.turn("a", long("a"))

    def forget(what: str) -> None:
        if what == "save":
            store.engine.copying = lambda what: None
            # From another thread: it waits for the copy, as the command loop does.
            thread = threading.Thread(target=store.pool.delete, args=("a",))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    store.engine.copying = forget
    store.pool.write_behind()
    for thread in threads:
        thread.join(PATIENCE)
    assert store.on_disk() == set()
    assert store.turn("b", long("a") + "b")[0] == 0


@pytest.mark.parametrize("what", ["save", "restore"])
@pytest.mark.parametrize("error", [EngineError("broken"), MemoryError()])
def test_a_copy_that_fails_only_costs_its_tokens(
    tmp_path: Path, what: str, error: Exception
) -> None:
    store = Store(tmp_path)
    store.turn("a", long("a"))
    store.turn("b", long("b"))

    def fail(now: str) -> None:
        if now == what:
            raise error

    store.engine.copying = fail
    store.turn("a", long("a") + "more")
    store.turn("c", long("c") + "more")
    store.engine.copying = lambda what: None
    assert store.turn("c", long("c") + "more")[0] == 103
    assert len(store.pool._contexts.free) == len(store.pool._contexts.all) == 1


def test_a_copy_that_fails_has_spoiled_what_stood_there(tmp_path: Path) -> None:
    store = Store(tmp_path, contexts=1)
    store.turn("b", long("x", 300))
    store.turn("a", long("x") + "!")

    def fail(now: str) -> None:
        if now == "restore":
            raise EngineError("broken")

    store.engine.copying = fail
    assert store.turn("a", long("x", 300) + "?") == (0, "none")


def test_an_unexpected_error_leaks_no_context(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.turn("a", long("a"))
    store.turn("b", long("b"))

    def fail(what: str) -> None:
        raise ZeroDivisionError

    store.engine.copying = fail
    with pytest.raises(ZeroDivisionError):
        store.pool.acquire(list(long("a").encode()), "a")
    store.engine.copying = lambda what: None
    assert store.turn("a", long("a") + "!")[0] in (0, 100)


def test_a_full_disk_is_only_a_miss(tmp_path: Path) -> None:
    def write(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(tmp_path, ram=0, write=write)
    for chat in "abcabc":
        store.turn(chat, long(chat))
    assert store.pool.write_behind() == 0
    assert store.pool.save_all(60) == 0
    assert store.on_disk() == set()
    assert len(store.pool._contexts.free) == 1


def test_no_copy_is_made_while_a_step_has_the_context(tmp_path: Path) -> None:
    """Sharing from a context at work waits for its step, and for no other."""
    inside, leave = threading.Event(), threading.Event()

    def before(evaluation: Evaluation) -> None:
        if evaluation.past == 100:
            inside.set()
            assert leave.wait(PATIENCE)

    store = Store(tmp_path, contexts=2, engine=ScriptedEngine(before=before))
    live, *_ = store.pool.acquire(list(long("a").encode()), "a")
    live.evaluate(list(long("a").encode()), 1)
    saves: list[bool] = []
    store.engine.copying = lambda what: saves.append(leave.is_set())
    step = threading.Thread(target=live.evaluate, args=([1], 1))
    step.start()
    assert inside.wait(PATIENCE)
    other = threading.Thread(target=store.turn, args=("b", long("a") + "b"))
    other.start()
    leave.set()
    step.join(PATIENCE)
    other.join(PATIENCE)
    assert saves == [True, True]


# With the real library: the proof is that nothing but time can tell where a prefix came from.


def ids(count: int, seed: int | str = 0) -> list[int]:
    return random.Random(seed).choices(range(3, 400), k=count)


def answer(pool: KvCache, prompt: list[int], chat: str, chance: random.Random) -> list[int]:
    """Twelve tokens, greedily, the prompt cut into slices of any size."""
    live, *_ = pool.acquire(prompt, chat)
    while (done := len(live.tokens)) < len(prompt):
        logits = live.evaluate(prompt[done : done + chance.randint(1, 60)], 1)
    said: list[int] = []
    for _ in range(12):
        said.append(int(logits.argmax()))
        logits = live.evaluate(said[-1:], 1)
    pool.release(live)
    return said


def uncached(engine: CtransformersEngine, prompt: list[int]) -> list[int]:
    pool = KvCache(engine, 1)
    try:
        return answer(pool, prompt, "", random.Random(0))
    finally:
        pool.close()


def real_store(engine: CtransformersEngine, folder: Path, contexts: int, ram: int) -> KvCache:
    origin = SnapshotKey("m" * 32, engine.identity, engine.context_length)
    disk = DiskSnapshots(folder, origin, engine, 2 * MEGABYTE)
    pools.append(KvCache(engine, contexts, ram_budget=ram, disk=disk, idle=NEVER))
    return pools[-1]


@pytest.mark.parametrize("seed", range(12))
def test_a_storm_of_chats_says_what_an_empty_cache_says(
    engine: CtransformersEngine, tmp_path: Path, seed: int
) -> None:
    """Chats with common beginnings, in one or two contexts and little memory, with restarts.

    Each chat has a canary of its own: a state that crossed would change what is said.
    """
    chance = random.Random(seed)
    contexts, ram = chance.choice([1, 2]), chance.choice([0, 250_000, MEGABYTE])
    pool = real_store(engine, tmp_path, contexts, ram)
    system = ids(60, "system")
    chats = {name: [*system, *ids(chance.randint(5, 60), name)] for name in "abcde"}
    tiers = set()
    for _ in range(25):
        name = chance.choice("abcde")
        if chance.random() < 0.2 and len(chats[name]) > 70:  # another branch of the chat
            del chats[name][chance.randint(61, len(chats[name])) :]
        prompt = [*chats[name], *ids(chance.randint(1, 12), chance.randrange(10**6))]
        live, _, tier = pool.acquire(prompt, name)
        tiers.add(tier)
        pool.release(live)
        said = answer(pool, prompt, name, chance)
        assert said == uncached(engine, prompt)
        chats[name] = [*prompt, *said][:200]
        if chance.random() < 0.15:
            pool.write_behind()
        if chance.random() < 0.1:
            pool.save_all(60)
            pool.close()
            pool = real_store(engine, tmp_path, contexts, ram)
    pool.close()
    assert len(tiers) > 1


@pytest.mark.parametrize("split", [1, 2, 63, 64, 65, 128, 199, 200])
def test_restored_shared_and_truncated_states_say_the_same(
    engine: CtransformersEngine, split: int
) -> None:
    history = ids(200)
    prompt = [*history[:split], *ids(10, split)]
    full, other = engine.new_context(), engine.new_context()
    for start in (0, 100):
        full.evaluate(history[start : start + 100], start, 1)
    other.evaluate(ids(120, "canary"), 0, 1)
    state = full.save(split)
    other.restore(state, split)
    logits = other.evaluate(prompt[split:], split, 1)
    assert int(logits.argmax()) == uncached(engine, prompt)[0]
    # What was saved from is as good as before.
    assert (full.evaluate([7], 200, 1) == full.evaluate([7], 200, 1)).all()
    longer = full.evaluate(history[150:], 150, 1)
    assert int(longer.argmax()) == uncached(engine, history)[0]
    full.close()
    other.close()


def test_a_saved_state_tells_nothing_of_what_came_after(engine: CtransformersEngine) -> None:
    context = engine.new_context()
    context.evaluate(ids(50), 0, 1)
    before = context.save(50)
    context.evaluate(ids(50, "secret"), 50, 1)
    assert (context.save(50) == before).all()
    context.close()


def test_no_bytes_can_crash_a_restore(engine: CtransformersEngine) -> None:
    context = engine.new_context()
    context.evaluate(ids(50), 0, 1)
    good = context.save(50)
    chance = random.Random(0)
    for _ in range(50):
        forged = good.copy()
        forged[: chance.randint(1, forged.size)] = chance.randrange(256)
        context.restore(forged, 50)
        context.evaluate([5], 50, 1)
    for wrong, count in [(good[:-1], 50), (good, 49), (good, 0), (good, -1), (good, CONTEXT + 1)]:
        with pytest.raises(ValueError):
            context.restore(wrong, count)
    for count in (0, -1, CONTEXT + 1):
        with pytest.raises(ValueError):
            context.save(count)
    context.close()
    with pytest.raises(ValueError):
        context.save(1)
    with pytest.raises(ValueError):
        context.restore(good, 50)


def test_many_threads_at_once_never_mix_chats(engine: CtransformersEngine, tmp_path: Path) -> None:
    """More chats than contexts, side by side, while states are written and forgotten."""
    pool = real_store(engine, tmp_path, 4, 300_000)
    system = ids(40, "system")
    prompts = {
        name: [[*system, *ids(50, name), *ids(5, name + str(turn))] for turn in range(5)]
        for name in "abcdefgh"
    }
    right = {name: [uncached(engine, p) for p in turns] for name, turns in prompts.items()}
    wrong: list[str] = []
    over = threading.Event()

    def talk(names: str) -> None:
        chance = random.Random(names)
        for turn in range(5):
            for name in names:
                said = answer(pool, prompts[name][turn], name, chance)
                if said != right[name][turn]:
                    wrong.append(f"{name}{turn}")

    def disturb() -> None:
        for number in range(10**6):
            pool.write_behind()
            pool.delete(f"{number}")
            pool.token_runs("a")
            if number == 20:
                pool.delete("h")
            if over.wait(0.001):
                return

    crew = [threading.Thread(target=talk, args=(names,)) for names in ("abc", "de", "fgh")]
    other = threading.Thread(target=disturb)
    for thread in (*crew, other):
        thread.start()
    for thread in crew:
        thread.join()
    over.set()
    other.join()
    assert wrong == []
    assert len(pool._contexts.free) == len(pool._contexts.all) <= 4


@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize("chats", [("a", "b"), ("", "")])
def test_of_what_others_have_read_only_the_system_prompt_is_taken(
    tmp_path: Path, contexts: int, chats: tuple[str, str]
) -> None:
    """Else an answer that begins sooner would tell that somebody has asked just the same."""
    store = Store(tmp_path, contexts=contexts)
    system, asked = long("system", 80), long("question")
    store.turn(chats[0], system + asked, owner="1", shared=80)
    assert store.turn(chats[1], system + asked + "!", owner="2", shared=80)[0] == 80
    assert store.turn(chats[1], system + asked + "!?", owner="2", shared=80)[0] == 181
    assert store.turn("", system + asked + "!!", owner="1", shared=80)[0] >= 180
    assert store.turn("", long("other"), owner="3")[0] == 0


def test_a_system_prompt_with_documents_is_shared_only_as_far_as_its_owner_shares_it(
    tmp_path: Path,
) -> None:
    """Else who guesses the words of a document could see how many of them are right."""
    store, prompt = Store(tmp_path, contexts=2), long("system", 80) + long("document")
    store.turn("a", prompt, owner="1", shared=80)
    assert store.turn("b", prompt + "!", owner="2", shared=181)[0] == 80
    store.turn("c", long("all of it a document"), owner="1", shared=0)
    store.pool.save_all(5)
    for one in (store, Store(tmp_path, contexts=2)):
        asked = long("all of it a document") + "!"
        assert one.turn("d", asked, owner="2", shared=101)[0] == 0


def test_no_user_learns_from_files_what_others_have_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.turn("a", long("a"), owner="1")
    store.pool.save_all(5)
    again = Store(tmp_path)
    assert again.turn("b", long("a") + "more", owner="2")[0] == 0
    last = Store(tmp_path)
    assert last.turn("a", long("a") + "more", owner="1")[0] == 100
