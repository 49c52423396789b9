"""What becomes of answers over the API when the test says what the model does, and when."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from quart.testing.connections import TestHTTPConnection as Connection

from app.api import http
from app.api.chats import events
from app.api.ollama import models as ollama_models
from app.config import Settings
from app.errors import ModelLoadError
from app.inference.process import RunnerProcess
from app.inference.protocol import Cancel, Delta, Failed, Finished, Generate, Prefill, SampledToken
from app.server import create_app
from app.web.context import ServerContext
from tests.inference.scripted import ScriptedRunner
from tests.patience import PATIENCE, until

PROGRAM = {"Host": "localhost:8000", "Content-Type": "application/json"}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": True}
CHAT |= {"input": "hi"}  # in the words of another protocol


class Stage:
    """The application with a scripted runner."""

    def __init__(self, app: Quart, runner: ScriptedRunner) -> None:
        self.app = app
        self.runner = runner
        self.here: ServerContext = app.extensions["wick"]

    @asynccontextmanager
    async def asked(
        self, path: str, body: Any = None, method: str = "POST", **headers: str
    ) -> AsyncIterator[Connection]:
        """A request that is on its way; its reader goes at the end."""
        made: Any = self.app.test_client().request(
            path, method=method, headers=PROGRAM | headers, root_path=""
        )
        async with made as connection:
            if body is not None:
                await connection.send(json.dumps(body).encode())
            await connection.send_complete()
            yield connection
            await connection.disconnect()

    async def command(self, number: int = 0) -> Generate:
        await until(lambda: len(self.generates) > number)
        return self.generates[number]

    @property
    def generates(self) -> list[Generate]:
        return [command for command in self.runner.sent if isinstance(command, Generate)]

    @property
    def cancelled(self) -> set[int]:
        return {command.id for command in self.runner.sent if isinstance(command, Cancel)}

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self.app.test_client().post(
                path, data=json.dumps(body), headers=PROGRAM | headers
            )


async def hear(reading: Connection, words: bytes) -> bytes:
    """All that comes until these words have come."""
    said = b""
    async with asyncio.timeout(PATIENCE):
        while words not in said:
            said += await reading.receive()
    return said


def finished(number: int, reason: Any = "stop") -> Finished:
    return Finished(number, reason, 9, 4, 2, 0.1, 0.1, 0)


@pytest.fixture
async def stage(
    tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    runner = ScriptedRunner(slots=2)

    async def start(*_: object) -> ScriptedRunner:
        return runner

    monkeypatch.setattr(RunnerProcess, "start", start)
    settings = Settings(
        data_dir=tmp_path, models_dir=tiny_store, auto_pull=False, queue_limit=2, titles="off"
    )
    app = create_app(settings)
    async with app.test_app():
        yield Stage(app, runner)


async def test_text_is_streamed_while_it_is_generated(stage: Stage) -> None:
    async with stage.asked("/v1/chat/completions", CHAT) as reading:
        number = (await stage.command()).id
        stage.runner.say(Prefill(number, 1, 2, 0, 0), Delta(number, "one"))
        assert b'"role":"assistant"' in await hear(reading, b'"content":"one"')
        stage.runner.say(Delta(number, " two"))
        await hear(reading, b'"content":" two"')
        stage.runner.say(finished(number))
        assert b'"finish_reason":"stop"' in await hear(reading, b"data: [DONE]\n\n")
    assert stage.cancelled == set()


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"]
)
async def test_a_closed_connection_stops_the_answer(
    stage: Stage, path: str, is_streamed: bool
) -> None:
    async with stage.asked(path, CHAT | {"stream": is_streamed}) as reading:
        number = (await stage.command()).id
        stage.runner.say(Prefill(number, 2, 2, 0, 0), Delta(number, "one"))
        if is_streamed:
            await reading.receive()
    await until(lambda: stage.cancelled == {number})
    stage.runner.say(finished(number, "cancelled"))
    await until(lambda: stage.here.pool.statuses()[0].running == 0)
    assert stage.cancelled == {number}


async def test_a_closed_connection_leaves_the_queue(stage: Stage) -> None:
    async with (
        stage.asked("/v1/chat/completions", CHAT),
        stage.asked("/v1/chat/completions", CHAT),
    ):
        await stage.command(1)
        async with stage.asked("/v1/chat/completions", CHAT):
            await until(lambda: stage.here.pool.statuses()[0].waiting == 1)
        await until(lambda: stage.here.pool.statuses()[0].waiting == 0)
    assert len(stage.generates) == 2


async def test_a_long_wait_sends_comments(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_SECONDS", 0.02)
    async with stage.asked("/v1/chat/completions", CHAT) as reading:
        assert b'"role":"assistant"' in await hear(reading, http.COMMENT)
        number = (await stage.command()).id
        stage.runner.say(Failed(number, "Too long.", 413))
        said = await hear(reading, b"data: {")
        said = said[said.index(b"data: {") :].partition(b"\n")[0]
        error = json.loads(said.removeprefix(b"data: "))["error"]
        assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("path", "waiting", "failed"),
    [
        ("/v1/messages", b"event: ping", b'"type":"invalid_request_error"'),
        ("/v1/responses", http.COMMENT, b"event: response.failed"),
    ],
)
async def test_other_protocols_wait_and_fail_in_their_own_words(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, path: str, waiting: bytes, failed: bytes
) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_SECONDS", 0.02)
    async with stage.asked(path, CHAT) as reading:
        await hear(reading, waiting)
        number = (await stage.command()).id
        stage.runner.say(Delta(number, "one"))
        await hear(reading, b"one")
        stage.runner.say(Failed(number, "Too long.", 413))
        said = await hear(reading, failed)
        assert b"Too long." in said


async def test_events_without_a_form_do_not_delay_the_keep_alive(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_SECONDS", 0.05)
    async with stage.asked("/v1/chat/completions", CHAT) as reading:
        number = (await stage.command()).id

        async def read_on() -> None:
            while True:
                stage.runner.say(Prefill(number, 1, 2, 0, 0))
                await asyncio.sleep(0)

        reads = asyncio.create_task(read_on())
        try:
            assert http.COMMENT in await hear(reading, http.COMMENT)
        finally:
            reads.cancel()


async def test_a_full_queue_says_when_to_retry(stage: Stage) -> None:
    async with stage.asked("/v1/chat/completions", CHAT) as reading:
        number = (await stage.command()).id
        stage.runner.say(Prefill(number, 9, 9, 0, 0), Delta(number, "So it goes."))
        stage.runner.say(Finished(number, "stop", 9, 0, 2, 0.1, 30.0, 0))
        await hear(reading, b"[DONE]")
    async with stage.asked("/v1/chat/completions", CHAT | {"n": 2}):
        await stage.command(2)
        async with (
            stage.asked("/v1/chat/completions", CHAT),
            stage.asked("/v1/chat/completions", CHAT),
        ):
            await until(lambda: stage.here.pool.statuses()[0].waiting == 2)
            answer = await stage.post("/v1/chat/completions", CHAT)
            assert answer.status_code == 503
            assert 40 < int(answer.headers["Retry-After"]) < 80  # two at once take twice as long
            assert (await answer.get_json())["error"]["code"] == "queue_full"
            assert stage.here.pool.statuses()[0].waiting == 2
            answer = await stage.post("/api/chat", CHAT)
            assert "is busy" in (await answer.get_json())["error"]


async def test_quotas_of_a_user_hold_for_programs(stage: Stage) -> None:
    here = stage.here
    here.quotas._settings = replace(here.settings, host="0.0.0.0", requests_per_user=1)
    async with stage.asked("/v1/chat/completions", CHAT):
        await stage.command()
        for path in ("/v1/chat/completions", "/api/chat", "/api/v1/chats"):
            answer = await stage.post(path, CHAT | {"text": "hello"})
            assert answer.status_code == 429, path
            assert int(answer.headers["Retry-After"]) > 0
            assert "limit" in str(await answer.get_json())
    assert await here.chats.recent(1) == []


async def test_several_answers_are_accepted_or_refused_together(stage: Stage) -> None:
    several = CHAT | {"n": 2}
    async with stage.asked("/v1/chat/completions", several):
        await stage.command(1)
        async with stage.asked("/v1/chat/completions", CHAT):
            await until(lambda: stage.here.pool.statuses()[0].waiting == 1)
            answer = await stage.post("/v1/chat/completions", several)
            assert answer.status_code == 503
            assert stage.here.pool.statuses()[0].waiting == 1


async def test_more_answers_than_the_queue_takes_run_one_after_the_other(stage: Stage) -> None:
    several = {"model": "tiny", "prompt": ["one", "two", "three"]}
    asked = asyncio.create_task(stage.post("/v1/completions", several))
    for number in range(3):
        command = await stage.command(number)
        assert len(stage.generates) == max(2, number + 1)
        stage.runner.say(Delta(command.id, (command.text or "").upper()), finished(command.id))
    answer = await (await asked).get_json()
    assert [choice["text"] for choice in answer["choices"]] == ["ONE", "TWO", "THREE"]


async def test_a_busy_model_is_unloaded_afterwards(stage: Stage) -> None:
    async with stage.asked("/api/chat", CHAT) as reading:
        number = (await stage.command()).id
        answer = await stage.post("/api/generate", {"model": "tiny", "keep_alive": 0})
        assert (await answer.get_json())["done_reason"] == "unload"
        stage.runner.say(Delta(number, "bye"), finished(number))
        await hear(reading, b'"done":true')
    await until(lambda: stage.here.pool.statuses()[0].state == "idle")


async def test_loading_by_ollamas_api_reports_success_or_the_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> ScriptedRunner:
        raise ModelLoadError("It is damaged.")

    with monkeypatch.context() as patched:
        patched.setattr(RunnerProcess, "start", fail)
        for _ in range(2):  # what failed before is tried again
            answer = await stage.post("/api/generate", {"model": "tiny"})
            assert answer.status_code == 503
            assert "damaged" in (await answer.get_json())["error"]
    for reason in ("load", "load", "unload"):
        wanted = {"model": "tiny", "keep_alive": 0 if reason == "unload" else "5m"}
        answer = await stage.post("/api/chat", wanted)
        assert (await answer.get_json())["done_reason"] == reason
        status = stage.here.pool.statuses()[0]
        assert status.state == ("idle" if reason == "unload" else "ready")
        if reason == "load":
            assert 290 < (status.unloads_in or 0) <= 300


async def test_keep_alive_sets_how_long_a_model_stays_loaded(stage: Stage) -> None:
    async with stage.asked("/api/chat", CHAT | {"keep_alive": 0}) as reading:
        number = (await stage.command()).id
        stage.runner.say(Delta(number, "bye"), finished(number))
        await hear(reading, b'"done":true')
    await until(lambda: stage.here.pool.statuses()[0].state == "idle")
    answer = await stage.post("/api/chat", CHAT | {"keep_alive": "soon"})
    assert answer.status_code == 400
    assert "keep_alive" in (await answer.get_json())["error"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0),
        ("0", 0),
        ("0s", 0),
        (90, 90),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (-1, math.inf),
        ("-1", math.inf),
        ("-5m", math.inf),
        (1e300, math.inf),
        ("nan", math.inf),
    ],
)
def test_keep_alive_durations_are_parsed(given: float | str | None, seconds: float | None) -> None:
    assert ollama_models.seconds_of(given) == seconds


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
async def test_a_stream_ends_with_an_error_when_the_runner_dies(stage: Stage, path: str) -> None:
    async with stage.asked(path, CHAT) as reading:
        number = (await stage.command()).id
        stage.runner.say(Prefill(number, 2, 2, 0, 0), Delta(number, "one"))
        await hear(reading, b"one")
        stage.runner.die()
        assert b"ended unexpectedly" in await hear(reading, b"ended unexpectedly")


async def test_events_resume_where_they_broke_off(stage: Stage) -> None:
    made = await (await stage.post("/api/v1/chats", {"text": "hello", "model": "tiny"})).get_json()
    number = (await stage.command()).id
    assert number == made["answer"]["id"]
    stage.runner.say(Prefill(number, 2, 2, 0, 0), Delta(number, "One ü"))
    await until(lambda: stage.here.hub.stream(number).text != "")  # type: ignore[union-attr]
    async with stage.asked(made["events"], method="GET") as reading:
        first = (await hear(reading, "One ü".encode())).decode()
    assert "event: replace\nid: " in first
    assert '{"text":"One ü"}' in first
    last = first.split("id: ")[1].split("\n")[0]
    assert last.endswith("-5")
    stage.runner.say(Delta(number, " and two"))
    await until(lambda: stage.here.hub.stream(number).text.endswith("two"))  # type: ignore[union-attr]
    async with stage.asked(made["events"], method="GET", **{"Last-Event-ID": last}) as reading:
        second = (await hear(reading, b" and two")).decode()
        assert "replace" not in second
        assert "event: delta" in second
        assert '{"text":" and two"}' in second
        stage.runner.say(Delta(number, ", three"), finished(number))
        rest = (await hear(reading, b"event: end")).decode()
        assert '{"text":", three"}' in rest
        assert '"text":"One ü and two, three"' in rest
        end = rest.split("event: end\nid: ")[1].split("\n")[0]
    answer = await stage.app.test_client().get(
        made["events"], headers=PROGRAM | {"Last-Event-ID": end}
    )
    assert answer.status_code == 204  # nobody need come back


async def test_followers_get_the_place_in_the_queue_and_the_shutdown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", events.FRAME_SECONDS + 0.02)
    made = await (await stage.post("/api/v1/chats", {"text": "hello", "model": "tiny"})).get_json()
    async with stage.asked(made["events"], method="GET") as reading:
        assert b"event: status" in await hear(reading, http.COMMENT)
        stage.here.hub.close(1012)
        while await reading.receive():
            pass  # the stream ends, without the answer having ended
    assert stage.here.hub.stream(made["answer"]["id"]) is not None


async def test_only_programs_and_own_pages_may_use_the_api(stage: Stage) -> None:
    path = "/v1/chat/completions"
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ):
        answer = await stage.post(path, CHAT, **headers)
        assert answer.status_code == 403, headers
        assert (await answer.get_json())["error"]["message"]
    form = "application/x-www-form-urlencoded"  # which curl says of everything
    for place, kind, status in (
        (path, "text/plain", 415),
        (path, form, 415),
        ("/api/show", "text/plain", 415),
        ("/api/show", form, 200),
    ):
        answer = await stage.post(place, CHAT, **{"Content-Type": kind})
        assert answer.status_code == status, (place, kind)
    answer = await stage.post(path, {"model": "unheard-of", "messages": [{"role": "user"}]})
    assert answer.status_code == 404
    assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await stage.app.test_client().put(path, headers=PROGRAM)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "OPTIONS, POST")
    assert stage.generates == []


async def test_a_slow_reader_gets_merged_deltas(stage: Stage) -> None:
    async with stage.asked("/v1/chat/completions", CHAT) as reading:
        number = (await stage.command()).id
        stage.runner.say(Prefill(number, 2, 2, 0, 0))
        stage.runner.say(*(Delta(number, f"{count} ") for count in range(1000)), finished(number))
        text = ""
        for line in (await hear(reading, b"[DONE]")).split(b"\n\n"):
            if line.startswith(b"data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
        assert text == "".join(f"{count} " for count in range(1000))


async def test_a_stream_ends_when_its_key_is_revoked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "RECHECK_SECONDS", 0.0)
    secret, key = await stage.here.api_keys.add(1, "An editor", ["chat"])
    async with stage.asked(
        "/v1/chat/completions", CHAT, Authorization=f"Bearer {secret}"
    ) as connection:
        number = (await stage.command()).id
        stage.runner.say(Delta(number, "before"))
        await hear(connection, b"before")
        await stage.here.api_keys.revoke(1, key.id)
        stage.runner.say(Delta(number, "after"))
        await until(lambda: number in stage.cancelled)
        assert await stage.here.api_keys.authenticate(secret) is None


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/v1/embeddings"])
async def test_a_whole_answer_ends_when_its_key_is_revoked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(http, "RECHECK_SECONDS", 0.01)
    secret, key = await stage.here.api_keys.add(1, "An editor", ["chat"])
    asked = CHAT | {"stream": False, "input": "hi"}
    answer = asyncio.create_task(stage.post(path, asked, Authorization=f"Bearer {secret}"))
    number = (await stage.command()).id
    await stage.here.api_keys.revoke(1, key.id)
    assert (await answer).status_code == 401
    await until(lambda: number in stage.cancelled)


async def test_best_of_chooses_the_answers_of_the_likeliest_tokens(stage: Stage) -> None:
    body = {"model": "tiny", "prompt": "hi", "best_of": 2, "max_tokens": 4}
    asked = asyncio.create_task(stage.post("/v1/completions", body))
    for number, logprob in enumerate((-2.0, -0.5)):
        command = await stage.command(number)
        assert command.top_logprobs == 0
        token = SampledToken((65,), logprob)
        stage.runner.say(Delta(command.id, f"{logprob}", (token, token)), finished(command.id))
    answer = await (await asked).get_json()
    assert [choice["text"] for choice in answer["choices"]] == ["-0.5"]
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 4  # of both
