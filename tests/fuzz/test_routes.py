"""Whatever is sent to whatever route: a sentence and a status, never an error inside Wick.

The routes are taken from the application, so a new one is tried without being named here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiosqlite
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from quart import Quart

from app.accounts.throttle import LoginThrottle
from app.config import Settings, asset_dir
from app.db import chats, messages
from app.inference.process import RunnerProcess
from app.models.store import ModelStore
from app.server import create_app
from tests.application import OWN, PASSWORD, BrowserClient, context_of, run_app
from tests.inference.scripted import ScriptedRunner
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

CHAT = "0123456789abcdef"
RULES = list(create_app(Settings()).url_map.iter_rules())
ROUTES = sorted(
    (method, rule.rule)
    for rule in RULES
    if not rule.websocket
    for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
)
SOCKETS = sorted(rule.rule for rule in RULES if rule.websocket)


def bounded(examples: int) -> settings:
    """The same examples every time, on a slow machine too."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # what broke is short as it is
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# What people, programs and enemies write.
ODD = st.sampled_from(
    ["", " ", "\0", "../../etc/passwd", "..", ".", "%00", "\r\nSet-Cookie: a=b", "'; --", "\u202e",
     "<script>", "{{7*7}}", "-1", "0", "1", "9" * 40, "1e999", "nan", "NaN", "-0", "inf", "0x1f",
     "\ufffd", "\U0001f600" * 50, "a" * 3000, "tiny", CHAT, "\x85", "\u2028", '"*"', "NEAR("]
)  # fmt: skip
TEXTS = ODD | st.text(max_size=40)
PARTS = ODD.filter(lambda text: len(text) < 100) | st.text(max_size=20)


def names() -> list[str]:
    """Of every field that a form or a query may have: whatever the screens look up."""
    sources = [*Path(asset_dir("templates")).glob("*.html"), *Path("app/web").glob("*.py")]
    found = re.compile(r'name="([a-z_-]+)"|(?:get|form|args)\(?\[?"([a-z_]+)"')
    words = [a or b for source in sources for a, b in found.findall(source.read_text())]
    numbers = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_tokens",
               "repetition_window", "seed", "context_length", "stop", "until"]  # fmt: skip
    return sorted({*words, *numbers})


NAMES = st.sampled_from(names()) | st.text(min_size=1, max_size=8)
FORMS = st.dictionaries(NAMES, TEXTS, max_size=8)
HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "HX-Request", "HX-Current-URL", "Range", "If-None-Match", "Cookie",
                     "Accept-Language", "Accept-Encoding", "If-Modified-Since", "HX-Target",
                     "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Referer",
                     "Authorization", "Sec-Fetch-Site"]),
    ODD.map(lambda text: text.encode("ascii", "replace").decode().replace("\r\n", " "))
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    max_size=4,
)  # fmt: skip
CONTENT_TYPES = st.sampled_from(
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
     "application/json", "text/plain", "", "application/x-www-form-urlencoded; charset=nonsense"]
)  # fmt: skip
BODIES = (
    FORMS.map(lambda form: urlencode(form, errors="replace").encode())
    | st.binary(max_size=60)
    | st.builds(
        lambda name, file, text: (
            f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n{text}'
            "\r\n--x--\r\n"
        ).encode(errors="replace"),
        NAMES,
        PARTS,
        TEXTS,
    )
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
    | st.text(st.characters(categories=["Cs"]), max_size=3),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(PARTS, inside, max_size=4),
    max_leaves=12,
)  # fmt: skip
PROMPTS = st.fixed_dictionaries(
    {},
    optional={
        "text": VALUES,
        "client_id": st.just("a" * 32) | VALUES,
        "model": st.just("tiny") | VALUES,
        "earlier": VALUES,
        "headers": VALUES,
    },
)
RAW = st.sampled_from(
    ["[" * 5_000, '{"text":' * 5_000, '{"a":1,"a":2}', "9" * 5_000, "-", "NaN", b"\xff",
     '{"text": "a\\u0000b\\ud800", "client_id": "0123456789", "model": "tiny"}', "null", "\ufeff{}"]
)  # fmt: skip


class Broken(logging.Handler):
    """Remembers what was logged as an error: nothing of this may be one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(logging.Formatter().format(record))


@pytest.fixture
def broken() -> Iterator[Broken]:
    handler = Broken()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quart]:
    folder = tmp_path_factory.mktemp("fuzz")
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    shutil.copytree(folder / "models" / "tiny", folder / "kept")

    async def start(*_: object) -> ScriptedRunner:
        return ScriptedRunner()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(RunnerProcess, "start", start)
        async with run_app(folder, host="0.0.0.0") as made:
            owner = await context_of(made).users.add("Olga", PASSWORD, "owner")
            made.extensions["owner"] = owner.id
            yield made


@pytest.fixture
async def visitor(app: Quart) -> BrowserClient:
    """Somebody who has a chat with an answer, whatever was done to it before."""
    here = context_of(app)
    here.users._throttle = LoginThrottle()
    visitor = BrowserClient(app)
    assert (await visitor.log_in("Olga")).status_code == 303
    with contextlib.suppress(FileExistsError):
        shutil.copytree(here.settings.data_dir / "kept", here.settings.models_dir / "tiny")

    async def fill(connection: aiosqlite.Connection) -> None:
        await connection.execute("DELETE FROM chats")
        owner = app.extensions["owner"]
        await chats.create(connection, CHAT, owner, "Chat", "tiny", 1.0)
        question = await messages.add_user(connection, owner, CHAT, None, "hello", "c1", 1.0)
        answer = await messages.add_answer(connection, owner, CHAT, question, "tiny", 1.0)
        await messages.finish(connection, owner, answer, "done", "hello", 2.0, counts={})
        await chats.advance(connection, owner, CHAT, answer, "tiny", 3.0)

    await here.chats._db.write(fill)
    return visitor


def address(data: st.DataObject, rule: str) -> str:
    """A path for the route, with anything or what there is in its places."""

    def fill(place: re.Match[str]) -> str:
        if place[0].startswith("<int:"):
            return str(data.draw(st.sampled_from([0, 1, 2, 1 << 63, 1 << 70]), place[0]))
        return quote(data.draw(st.just(CHAT) | st.just("tiny") | PARTS, place[0]), safe="")

    return re.sub(r"<[^>]*>", fill, rule)


def query(data: st.DataObject) -> str:
    found = data.draw(FORMS, "query")
    return urlencode(found, errors="replace")


@pytest.mark.parametrize(("method", "rule"), ROUTES, ids=map(" ".join, ROUTES))
@given(data=st.data())
@bounded(12)
async def test_a_route_answers_any_request_with_a_sentence(
    visitor: BrowserClient, broken: Broken, method: str, rule: str, data: st.DataObject
) -> None:
    headers = data.draw(HEADERS, "headers")
    body = b""
    if method != "GET":
        headers["Content-Type"] = data.draw(CONTENT_TYPES, "type")
        body = data.draw(BODIES, "body")
    path = f"{address(data, rule)}?{query(data)}"
    answer = await visitor.ask(method, path, headers=headers, data=body)
    await answer.get_data()
    assert broken.said == []
    assert answer.status_code != 500


@pytest.mark.parametrize("rule", SOCKETS)
@given(message=VALUES | PROMPTS | RAW, arguments=FORMS)
@bounded(60)
async def test_a_socket_answers_any_message_with_a_sentence(
    visitor: BrowserClient, broken: Broken, rule: str, message: Any, arguments: dict[str, str]
) -> None:
    """Each message has an answer, and after it the socket still has one for the next."""
    has_composer = rule == "/chats/<chat_id>/live"
    sent = message if isinstance(message, bytes | str) else json.dumps(message)
    if isinstance(sent, str):
        sent = sent.encode(errors="replace").decode()
    address = rule.replace("<chat_id>", CHAT).replace("<int:prompt_id>", "1")
    path = f"{address}?{urlencode(arguments, errors='replace')}"
    async with asyncio.timeout(PATIENCE), visitor.client.websocket(path, headers=OWN) as socket:
        await socket.send(sent)
        await socket.send(json.dumps({"text": "", "client_id": "b" * 32}))
        while "Write a message first" not in str(await socket.receive()) and has_composer:
            pass
    assert broken.said == []


def test_every_route_is_tried() -> None:
    assert len(ROUTES) > 40
    assert SOCKETS
