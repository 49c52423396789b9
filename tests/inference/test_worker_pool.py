"""Several models on real runners: answering at once, making room, leaving, being removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.config import Settings
from app.errors import (
    LimitReached,
    ModelBusy,
    ModelNotFound,
    ModelTooLarge,
    QueueFull,
    ShuttingDown,
)
from app.inference import kv_files, lifecycle, process
from app.inference.kv_files import chat_key
from app.inference.protocol import (
    Delta,
    Failed,
    Finished,
    Generate,
    LoadProgress,
    Prefill,
    to_line,
)
from app.inference.queue import ModelLoading, Request, RequestEvent
from app.inference.worker_pool import WorkerPool
from app.models import memory
from app.models.install.pulls import PullManager
from app.models.model import ModelSettings, Turn
from app.models.parameters import Sampling
from app.models.store import ModelStore
from tests.inference.stage import Ear
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

FIRST, SECOND = "first", "second"
ENDLESS = 100_000
Started = Callable[..., WorkerPool]


class ScriptedAdmission:
    """Admission that remembers what it is asked and reported, and refuses when `is_full`."""

    def __init__(self) -> None:
        self.is_full = False
        self.inside: list[int] = []
        self.recorded: list[Prefill | Delta | Finished] = []

    @contextlib.contextmanager
    def admit(self, user_id: int) -> Iterator[None]:
        if self.is_full:
            raise LimitReached("Too many.", 5)
        self.inside.append(user_id)
        try:
            yield
        finally:
            self.inside.remove(user_id)

    def record_usage(self, _: Request, event: Prefill | Delta | Finished) -> None:
        self.recorded.append(event)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("two")
    made = ModelStore(folder / "models")
    for number, name in enumerate((FIRST, SECOND)):
        source = write_tiny_gguf(folder / f"{name}.gguf", seed=number, context_length=32768)
        made.install(source, name)
    return made


@pytest.fixture
def admission() -> ScriptedAdmission:
    return ScriptedAdmission()


@pytest.fixture
async def started(
    tmp_path: Path, store: ModelStore, admission: ScriptedAdmission
) -> AsyncIterator[Started]:
    pools: list[WorkerPool] = []

    def make(**settings: Any) -> WorkerPool:
        defaults = {"threads": 1, "slots": 2, "context": 2048}
        chosen = Settings(data_dir=tmp_path, models_dir=store.root, **(defaults | settings))
        pools.append(WorkerPool(chosen, store, PullManager(store), admission))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close("Wick was stopped.")


class Requester(Ear):
    """Asks a model and hears it. Every request has a number of its own."""

    number = 0

    def __init__(
        self,
        pool: WorkerPool,
        model: str,
        max_tokens: int = 20,
        chat: str = "",
        *,
        is_background: bool = False,
    ) -> None:
        super().__init__()
        Requester.number += 1
        self.number = Requester.number
        turns = (Turn("user", "the people of the water"),)
        command = Generate(self.number, turns, Sampling(temperature=0), max_tokens, chat=chat)
        pool.submit(model, Request(command, 1, self, is_background=is_background))

    def words(self) -> str:
        return "".join(event.text for event in self.heard if isinstance(event, Delta))

    def is_told(self, kind: type[RequestEvent]) -> bool:
        return any(isinstance(event, kind) for event in self.heard)


async def reached(pool: WorkerPool, is_true: Callable[[], bool]) -> None:
    """Wait until something is true that can only become so with a change of state."""
    news = asyncio.Event()
    pool.listeners.append(news.set)
    async with asyncio.timeout(PATIENCE):
        while not is_true():
            news.clear()
            await news.wait()
    pool.listeners.remove(news.set)


async def within(awaitable: Awaitable[object]) -> None:
    async with asyncio.timeout(PATIENCE):
        await awaitable


def state(pool: WorkerPool, name: str) -> str:
    status = pool.status(name)
    return "none" if status is None else status.state


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def come(before: set[int]) -> set[int]:
    """The processes that came since. Of those that other tests left, one may end meanwhile."""
    return children() - before


def to_request(number: int, user: int = 1, *, is_background: bool = False) -> Request:
    return Request(Generate(number, ()), user, lambda _: None, is_background=is_background)


async def test_admission_is_asked_before_a_request_and_hears_of_its_usage(
    started: Started, admission: ScriptedAdmission
) -> None:
    pool = started()
    with pool.admit(FIRST, 7):
        assert admission.inside == [7]
    assert admission.inside == []
    assert pool.statuses() == []  # admission alone makes no worker
    await Requester(pool, FIRST, 2).hears(Finished)
    kinds = [type(event) for event in admission.recorded]
    assert kinds[-1] is Finished
    assert {Prefill, Delta} < set(kinds)
    admission.is_full = True
    with pytest.raises(LimitReached):
        pool.submit(FIRST, to_request(1))
    pool.submit(FIRST, to_request(2, is_background=True))  # takes nobody's turn


@pytest.mark.usefixtures("sticky")
async def test_a_full_queue_admits_nobody_who_has_a_share_in_it(
    started: Started, admission: ScriptedAdmission
) -> None:
    pool = started(queue_limit=2)
    for number in range(2):
        pool.submit(FIRST, to_request(number))
    with pytest.raises(QueueFull), pool.admit(FIRST, 1):
        raise AssertionError
    with pytest.raises(QueueFull):
        pool.submit(FIRST, to_request(3))
    assert admission.inside == []
    pool.submit(FIRST, to_request(4, user=2))
    pool.worker(FIRST).submit(to_request(5))  # admitted earlier, while there was room


async def test_a_pool_that_stops_admits_nobody_and_begins_no_other_model(started: Started) -> None:
    pool = started()
    pool.interrupt("Wick was stopped.")
    with pytest.raises(ShuttingDown), pool.admit(FIRST, 1):
        raise AssertionError
    for begin in (pool.load, lambda name: pool.submit(name, to_request(1))):
        with pytest.raises(ShuttingDown):
            begin(FIRST)
    assert pool.statuses() == []


async def test_two_answer_at_once_and_one_leaves_while_the_other_answers(started: Started) -> None:
    pool = started(context=32768, threads=2)
    one = Requester(pool, FIRST, ENDLESS)
    two = Requester(pool, SECOND, ENDLESS)
    await one.hears(Delta)
    await two.hears(Delta)
    said = len(one.words()), len(two.words())
    both = [pool.status(name) for name in (FIRST, SECOND)]
    assert [status and (status.state, status.running) for status in both] == [("ready", 1)] * 2
    while len(one.words()) == said[0] or len(two.words()) == said[1]:
        await asyncio.sleep(0.01)
    with pytest.raises(ModelBusy):
        await pool.unload(SECOND)
    pool.cancel(SECOND, two.number)
    await two.hears(Finished)
    said = len(one.words()), 0
    await within(pool.unload(SECOND))
    assert state(pool, SECOND) == "idle"
    assert state(pool, FIRST) == "ready"
    assert pool.status(SECOND).memory == 0  # type: ignore[union-attr]
    while len(one.words()) == said[0]:
        await asyncio.sleep(0.01)
    assert not one.is_told(Finished)


async def test_loading_unloading_and_coming_back_to_a_chat(started: Started) -> None:
    pool = started()
    with pytest.raises(ModelNotFound):
        pool.load("nothing")
    before = children()
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    assert pool.status(FIRST).memory > memory.OVERHEAD_BYTES  # type: ignore[union-attr]
    requester = Requester(pool, FIRST, 100, chat="chat")
    await requester.hears(Finished)
    await within(pool.unload(FIRST))
    assert not come(before)
    again = Requester(pool, FIRST, 1, chat="chat")
    assert (await again.hears(Finished)).tier == "disk"


async def test_a_model_that_is_too_large_is_refused_with_figures(started: Started) -> None:
    pool = started(model_memory_mb=50)
    with pytest.raises(ModelTooLarge, match="models may use 52 MB"):
        pool.load(FIRST)
    requester = Requester(pool, FIRST)
    assert "is too large for this machine" in (await requester.hears(Failed)).message
    assert state(pool, FIRST) == "failed"


async def test_a_model_has_fewer_slots_where_memory_is_short(
    started: Started, store: ModelStore
) -> None:
    least = memory.required_bytes(store.get(FIRST), 32768, 1)
    pool = started(model_memory_mb=(least >> 20) + 1, slots=4, context=32768)
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    status = pool.status(FIRST)
    assert status is not None
    assert (status.slots, status.context_length, status.memory) == (1, 32768, least)


async def test_memory_for_chats_at_hand_fits_the_budget_and_makes_way(
    started: Started, store: ModelStore
) -> None:
    least = memory.required_bytes(store.get(FIRST), 2048, 2)
    pool = started(model_memory_mb=2 * (least >> 20) + 30, slots=2, kv_ram_mb=4096)
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    alone = pool.status(FIRST)
    assert alone is not None
    budget = memory.budget(pool._settings)
    assert alone.memory == least
    assert 30 << 20 < alone.spare <= budget - least
    one = Requester(pool, FIRST, ENDLESS)
    await one.hears(Delta)
    await Requester(pool, SECOND).hears(Finished)  # though the first is busy
    assert state(pool, FIRST) == state(pool, SECOND) == "ready"
    together = pool.statuses()
    assert [status.memory for status in together] == [least, least]
    assert sum(status.memory + status.spare for status in together) <= budget
    assert pool.status(FIRST).spare < alone.spare  # type: ignore[union-attr]
    pool.cancel(FIRST, one.number)
    await one.hears(Finished)
    await within(pool.unload(SECOND))
    assert pool.status(FIRST).spare == alone.spare  # type: ignore[union-attr]


async def test_an_idle_model_makes_room_and_a_busy_one_is_waited_for(started: Started) -> None:
    pool = started(model_memory_mb=memory.OVERHEAD_BYTES * 3 // 2 >> 20, context=32768)
    await Requester(pool, FIRST).hears(Finished)
    one = Requester(pool, SECOND, ENDLESS)  # the first is idle
    await one.hears(Delta)
    assert (state(pool, FIRST), state(pool, SECOND)) == ("idle", "ready")
    two = Requester(pool, FIRST)
    while not two.heard or two.heard[-1] != ModelLoading(
        two.number, f"Waiting for memory: {SECOND} is answering"
    ):
        await asyncio.sleep(0.01)
    late = Requester(pool, SECOND)  # after somebody waits for memory: it waits for its next load
    pool.cancel(SECOND, one.number)
    await two.hears(Finished)
    assert not late.is_told(Finished)
    await late.hears(Finished)


async def test_a_load_that_gives_up_waiting_for_memory_leaves_the_others_alone(
    started: Started,
) -> None:
    pool = started(model_memory_mb=memory.OVERHEAD_BYTES * 3 // 2 >> 20, context=32768)
    one = Requester(pool, SECOND, ENDLESS)
    await one.hears(Delta)
    two = Requester(pool, FIRST)
    await two.hears(ModelLoading)
    pool.cancel(FIRST, two.number)
    await reached(pool, lambda: state(pool, FIRST) == "idle")
    late = Requester(pool, SECOND, 5)
    await late.hears(Finished)  # beside the endless one
    assert state(pool, SECOND) == "ready"


async def test_a_model_that_nobody_uses_is_unloaded(started: Started) -> None:
    pool, before = started(keep_alive=0.0), children()
    requester = Requester(pool, FIRST, 2)
    await requester.hears(Finished)
    await reached(pool, lambda: state(pool, FIRST) == "idle")
    assert not come(before)


async def test_the_context_chosen_for_a_model_applies_from_the_next_load(
    started: Started, store: ModelStore
) -> None:
    pool = started()
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    assert pool.status(FIRST).context_length == 2048  # type: ignore[union-attr]
    store.save_settings(FIRST, ModelSettings(context_length=1000))
    try:
        pool.settings_changed(FIRST)
        await reached(pool, lambda: state(pool, FIRST) == "idle")
        await Requester(pool, FIRST).hears(Finished)
        assert pool.status(FIRST).context_length == 1000  # type: ignore[union-attr]
    finally:
        store.save_settings(FIRST, ModelSettings())


async def test_a_removed_model_leaves_no_trace(started: Started, tmp_path: Path) -> None:
    pool = started(context=32768)
    await Requester(pool, FIRST, 100, chat="chat").hears(Finished)
    await Requester(pool, SECOND, 100, chat="chat").hears(Finished)
    busy = Requester(pool, FIRST, ENDLESS)
    await busy.hears(Delta)
    with pytest.raises(ModelBusy):
        await pool.delete_model(FIRST)
    pool.cancel(FIRST, busy.number)
    await busy.hears(Finished)
    await within(pool.unload(SECOND))
    await within(pool.delete_model(FIRST))
    assert [status.name for status in pool.statuses()] == [SECOND]
    assert len(list((tmp_path / "kv").glob("*/*.kv"))) == 1
    await pool.delete_model("nothing")
    await Requester(pool, FIRST, 2).hears(Finished)  # the store has it still, and begins anew


@pytest.fixture
def sticky(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes runners that are for ever loading at 40 %, until the function it returns is called."""
    real = process._command_line
    line = to_line(LoadProgress(0.4))

    def stuck(model: Any, options: Any, descriptor: int) -> list[str]:
        code = f"import os, time; os.write({descriptor}, {line!r}); time.sleep(100)"
        return [sys.executable, "-c", code]

    monkeypatch.setattr(process, "_command_line", stuck)
    return lambda: monkeypatch.setattr(process, "_command_line", real)


async def test_a_chat_deleted_while_its_model_leaves_is_deleted_again(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = started(context=32768)
    await Requester(pool, FIRST, 100, chat="chat").hears(Finished)
    status = pool.status(FIRST)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGSTOP)
    leaving = asyncio.create_task(pool.unload(FIRST))
    await reached(pool, lambda: state(pool, FIRST) == "unloading")
    late = tmp_path / "kv" / "model" / f"{chat_key('chat')}.kv"
    forget = kv_files.delete

    def forget_too_early(folder: Path, chat: str) -> None:
        forget(folder, chat)
        monkeypatch.undo()
        late.parent.mkdir()
        late.touch()  # as a runner that was just writing it

    monkeypatch.setattr(kv_files, "delete", forget_too_early)
    deleting = asyncio.create_task(pool.delete_chat("chat"))
    await asyncio.wait({deleting}, timeout=0)
    os.kill(status.pid, signal.SIGCONT)
    await within(asyncio.gather(leaving, deleting))
    assert list((tmp_path / "kv").glob("*/*.*")) == []


async def test_a_runner_killed_while_loading_fails_the_load(
    started: Started, sticky: Callable[[], None]
) -> None:
    pool, before, files = started(), children(), psutil.Process().num_fds()
    requester = Requester(pool, FIRST)
    await reached(pool, lambda: bool((s := pool.status(FIRST)) and s.load_progress))
    assert requester.heard[-1] == ModelLoading(requester.number, "Loading the model, 40 %")
    (runner,) = come(before)
    os.kill(runner, signal.SIGKILL)
    message = (await requester.hears(Failed)).message
    assert "could not be loaded: its process ended unexpectedly (SIGKILL, as when" in message
    assert (state(pool, FIRST), come(before)) == ("failed", set())
    assert pool.status(FIRST).memory == 0  # type: ignore[union-attr]
    async with asyncio.timeout(PATIENCE):
        while psutil.Process().num_fds() > files:
            await asyncio.sleep(0.01)
    sticky()
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    await Requester(pool, FIRST, 2).hears(Finished)


async def test_a_runner_killed_while_it_loads_fails_all_who_wait_and_nobody_else(
    started: Started, sticky: Callable[[], None]
) -> None:
    pool, before = started(), children()
    requesters = [Requester(pool, FIRST) for _ in range(3)]
    title = Requester(pool, FIRST, is_background=True)
    await reached(pool, lambda: bool((s := pool.status(FIRST)) and s.load_progress))
    (runner,) = come(before)
    sticky()
    other = Requester(pool, SECOND, 2)
    os.kill(runner, signal.SIGKILL)
    for requester in (*requesters, title):
        assert "its process ended unexpectedly (SIGKILL" in (await requester.hears(Failed)).message
    await other.hears(Finished)
    assert (state(pool, FIRST), state(pool, SECOND)) == ("failed", "ready")
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    await Requester(pool, FIRST, 2).hears(Finished)
    for requester in (*requesters, title):
        assert [type(event) for event in requester.heard].count(Failed) == 1
        assert not requester.is_told(Finished)


async def test_a_model_removed_while_it_unloads_leaves_no_trace(
    started: Started, tmp_path: Path
) -> None:
    pool, before = started(context=32768), children()
    await Requester(pool, FIRST, 100, chat="chat").hears(Finished)
    status = pool.status(FIRST)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGSTOP)
    unloading = asyncio.create_task(pool.unload(FIRST))
    await reached(pool, lambda: state(pool, FIRST) == "unloading")
    waiting = Requester(pool, FIRST, 2)
    with pytest.raises(ModelBusy):
        await pool.delete_model(FIRST)
    pool.cancel(FIRST, waiting.number)
    removing = asyncio.create_task(pool.delete_model(FIRST))
    await asyncio.wait({removing}, timeout=0)
    assert not removing.done()
    os.kill(status.pid, signal.SIGCONT)
    await within(asyncio.gather(unloading, removing))
    assert pool.statuses() == []
    assert not come(before)
    assert list((tmp_path / "kv").glob("*/*.kv")) == []
    await Requester(pool, FIRST, 2).hears(Finished)  # the store has it still, and it begins anew


async def test_a_real_runner_killed_as_soon_as_there_is_one(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "MIN_SECONDS", lifecycle.MAX_SECONDS)
    pool, before = started(), children()
    requester = Requester(pool, FIRST)
    async with asyncio.timeout(PATIENCE):
        while not (runners := come(before)):
            await asyncio.sleep(0)
    os.kill(runners.pop(), signal.SIGKILL)
    assert "could not be loaded" in (await requester.hears(Failed)).message
    again = Requester(pool, FIRST, 2)
    assert "It can be tried again in" in (await again.hears(Failed)).message
    pool.load(FIRST)
    await reached(pool, lambda: state(pool, FIRST) == "ready")
    await Requester(pool, FIRST, 2).hears(Finished)


@pytest.mark.usefixtures("sticky")
async def test_a_load_given_up_leaves_no_process(started: Started) -> None:
    pool, before = started(), children()
    pool.load(FIRST)
    await reached(pool, lambda: bool((s := pool.status(FIRST)) and s.load_progress))
    assert len(come(before)) == 1
    await within(pool.unload(FIRST))
    assert (state(pool, FIRST), come(before)) == ("idle", set())
    pool.load(FIRST)
    await reached(pool, lambda: bool((s := pool.status(FIRST)) and s.load_progress))
    await within(pool.close("Wick was stopped."))
    assert not come(before)
