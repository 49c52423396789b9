from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import Browser, async_playwright, expect

from app.models.model import Model, ModelSettings
from app.models.store import ModelStore
from tests.e2e.person import RECORDER, ChatPage, Person
from tests.e2e.server import ROOT, Server
from tests.long_chat import plant
from tests.patience import PATIENCE
from tests.smollm2 import store_with_smollm2
from tests.tiny_gguf import write_tiny_gguf

SMOLLM2, TINY = "smollm2-135m", "tiny"
SHORT = 24
"""Tokens of the longest answer that tests usually wait for."""
CONTEXT = 4096
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_servers: list[Server] = []


class Meet(Protocol):
    def __call__(self, server: Server, **options: Any) -> Awaitable[Person]: ...


StartServer = Callable[..., Awaitable[Server]]


def executable() -> str | None:
    """Return the machine's Chromium; without one Playwright takes its own."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def meet(browser: Browser) -> AsyncIterator[Meet]:
    """Brings another person with a browser of their own; afterwards nothing was wrong in it."""
    async with AsyncExitStack() as stack:
        people: list[Person] = []

        async def bring(server: Server, **options: Any) -> Person:
            context = await browser.new_context(**options)
            stack.push_async_callback(context.close)
            context.set_default_timeout(PATIENCE * 1000)
            await context.add_init_script(RECORDER)
            people.append(Person(context, server))
            return people[-1]

        yield bring
        problems = [problem for person in people for problem in person.problems]
    assert not problems


@pytest.fixture(scope="session")
async def smollm2() -> Path:
    """The real model's folder, fetched once for all times by the command a person would use."""
    return await asyncio.to_thread(store_with_smollm2) / SMOLLM2


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a model that talks nonsense, quickly, and does not stop by itself."""
    folder = tmp_path_factory.mktemp("tiny")
    source = write_tiny_gguf(folder / "tiny.gguf", context_length=32768)
    store = ModelStore(folder / "store")
    store.save_settings(TINY, the_same_again(store.install(source, TINY)))
    return store.root


@pytest.fixture(scope="session")
def two_model_store(
    smollm2: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("both")
    for model in (smollm2, tiny_store / TINY):
        (folder / model.name).mkdir()
        for file in model.iterdir():
            (folder / model.name / file.name).symlink_to(file)
    store = ModelStore(folder)
    store.save_settings(SMOLLM2, the_same_again(store.get(SMOLLM2)))
    return folder


def the_same_again(model: Model) -> ModelSettings:
    """Make settings with which the same prompt gets the same answer."""
    return ModelSettings(sampling=replace(model.sampling, seed=1))


@pytest.fixture(scope="session")
async def server(
    two_model_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """Start a server with both models, short answers and a short context, for tests that do
    nothing bad to it."""
    server = Server(
        tmp_path_factory.mktemp("server"), two_model_store, max_tokens=SHORT, context=CONTEXT
    )
    _servers.append(server)
    yield await server.start()
    assert await server.stop() == 0


@pytest.fixture(scope="session")
async def endless(
    tiny_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """Answers that go on until they are stopped, one at a time."""
    server = Server(
        tmp_path_factory.mktemp("endless"), tiny_store, slots=1, max_tokens=30000, context=32768
    )
    _servers.append(server)
    yield await server.start()
    assert await server.stop() == 0


@pytest.fixture
async def person(server: Server, meet: Meet) -> Person:
    return await meet(server)


@pytest.fixture
async def chat(person: Person, server: Server, request: pytest.FixtureRequest) -> ChatPage:
    """A chat with the tiny model, a question and its answer, that is named after the test."""
    chat_id = plant(server.folder / "wick.db", 2, request.node.name)
    return await person.open(f"/chats/{chat_id}")


@pytest.fixture
async def start(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartServer]:
    """Starts servers that a test has for itself."""
    async with AsyncExitStack() as stack:

        async def begin(models: Path, **settings: Any) -> Server:
            server = Server(tmp_path_factory.mktemp("own"), models, **settings)
            _servers.append(server)
            stack.push_async_callback(server.close)
            return await server.start()

        yield begin


@pytest.fixture(autouse=True)
def clean_second_try(request: pytest.FixtureRequest) -> None:
    """Take what a first try has left out of the servers' lists: names would be there twice."""
    if getattr(request.node, "execution_count", 1) < 2:
        return
    for name in {"server", "endless"} & set(request.fixturenames):
        database = request.getfixturevalue(name).folder / "wick.db"
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("DELETE FROM chats")
            connection.execute("DELETE FROM folders")


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Print what servers logged beside a test's failure; a traceback is one."""
    before = {server: len(server.log) for server in _servers}
    yield
    said = {server: server.log[before.get(server, 0) :] for server in _servers}
    for server, text in said.items():
        if text:
            print(f"--- {server.origin} ---\n{text}")
    assert not [text for text in said.values() if "Traceback" in text]


@pytest.fixture(scope="session")
def artefacts() -> Path:
    folder = ROOT / "test-artefacts"
    folder.mkdir(exist_ok=True)
    return folder
