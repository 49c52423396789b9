"""A worker whose model other servers hold: what they do well, and everything they do badly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from app.inference.dispatcher import Runner
from app.inference.lifecycle import ProgressCallback
from app.inference.protocol import (
    Delta,
    Failed,
    Finished,
    Generate,
    Prefill,
    SampledToken,
    TokenLogprob,
)
from app.inference.queue import Interrupted, ModelLoading, Queued, Request, RequestEvent
from app.inference.remote.errors import Timeouts
from app.inference.remote.runner import RemoteRunner
from app.inference.remote.servers import ServerPool
from app.inference.worker import Worker
from app.models.model import Turn
from app.models.model_files import DEFAULT_TEMPLATE_SETTINGS
from app.models.text.tools import ToolCall, ToolSpec, join_calls
from app.models.upstream import RemoteModel, Upstream
from tests.inference.remote.stub import Call, Script, Stub, answer, chunk, serving
from tests.inference.stage import Ear
from tests.patience import PATIENCE

QUICK = Timeouts(connect=5, first=20, between=20, busy=20, pause=0.01, end=5)
ENDS = (Finished, Failed, Interrupted)


class Requester(Ear):
    """Hears one answer; `text` is what there is of it."""

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.heard if isinstance(event, Delta))

    @property
    def thought(self) -> str:
        return "".join(event.thought for event in self.heard if isinstance(event, Delta))

    @property
    def ends(self) -> list[RequestEvent]:
        return [event for event in self.heard if isinstance(event, ENDS)]

    async def end(self) -> RequestEvent:
        async with asyncio.timeout(PATIENCE):
            while not self.ends:
                self._news.clear()
                await self._news.wait()
        return self.ends[0]


class RemoteStage:
    """A worker with its servers. `ask` hands it a request."""

    def __init__(self, urls: list[str], patience: Timeouts, parallel: int, **more: Any) -> None:
        upstreams = tuple(Upstream(url, "stub", parallel=parallel) for url in urls)
        upstreams = tuple(replace(upstream, **more) for upstream in upstreams)
        self.servers = ServerPool(RemoteModel(upstreams, context=4096))
        self._patience = patience
        self.worker = Worker("stub", self._load, queue_limit=8, slots=1)
        self._task = asyncio.create_task(self.worker.run())
        self._numbers = iter(range(1, 1000))

    async def _load(self, notify: ProgressCallback) -> Runner:
        return RemoteRunner(self.servers, self._patience)

    def ask(self, said: str = "hello", **more: Any) -> Requester:
        given: dict[str, Any] = {
            "turns": (Turn("user", said),),
            "sampling": DEFAULT_TEMPLATE_SETTINGS,
        }
        given |= {"max_tokens": 100} | more
        requester = Requester()
        command = Generate(next(self._numbers), **given)
        self.worker.submit(Request(command, 1, requester))
        return requester

    def stop(self, requester: Requester) -> None:
        self.worker.cancel(requester.heard[0].id)

    async def close(self) -> None:
        await self.worker.close("Wick was stopped.")
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


MakeStage = Callable[..., RemoteStage]


@pytest.fixture
async def make_stage() -> AsyncIterator[MakeStage]:
    stages: list[RemoteStage] = []

    def make(
        *stubs: Stub | str, patience: Timeouts = QUICK, parallel: int = 4, **more: Any
    ) -> RemoteStage:
        urls = [stub if isinstance(stub, str) else stub.url for stub in stubs]
        stages.append(RemoteStage(urls, patience, parallel, **more))
        return stages[-1]

    yield make
    for stage in stages:
        await stage.close()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as stub:
        yield stub


@pytest.fixture
async def other() -> AsyncIterator[Stub]:
    async with serving() as stub:
        yield stub


async def wait_for_ever(call: Call) -> None:
    await call.gone.wait()


async def test_an_answer_streams_with_its_figures(make_stage: MakeStage, stub: Stub) -> None:
    stage = make_stage(stub)
    turns = (
        Turn("system", "be brief"),
        Turn("user", "a"),
        Turn("assistant", "b"),
        Turn("user", "c"),
    )
    sampling = replace(
        DEFAULT_TEMPLATE_SETTINGS, temperature=0.5, top_p=0.8, top_k=7, min_p=0.1, seed=3
    )
    sampling = replace(sampling, repetition_penalty=1.2)
    requester = stage.ask(turns=turns, sampling=sampling, stop=("END",))
    end = await requester.end()
    assert requester.text == "Hello there"
    assert isinstance(end, Finished)
    assert (end.reason, end.prompt_tokens, end.completion_tokens) == ("stop", 11, 2)
    assert (end.context_length, end.dropped) == (4096, 0)
    assert isinstance(requester.heard[0], Prefill | ModelLoading | Queued)
    assert await requester.hears(Prefill)
    call = stub.calls[0]
    assert call.path == "/v1/chat/completions"
    assert "authorization" not in call.headers
    assert call.body == {
        "model": "stub",
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "max_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.8,
        "top_k": 7,
        "min_p": 0.1,
        "seed": 3,
        "stop": ["END"],
        "repetition_penalty": 1.2,
        "repeat_penalty": 1.2,
        "repeat_last_n": 64,
    }


async def test_parameters_that_are_not_chosen_are_left_to_the_server(
    make_stage: MakeStage, stub: Stub
) -> None:
    await make_stage(stub).ask().end()
    chosen = {"model", "messages", "stream", "max_tokens", "temperature"}
    assert stub.calls[0].body.keys() == chosen | {"stream_options", "return_progress"}


async def test_the_key_comes_from_the_environment(
    make_stage: MakeStage, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(stub, key_env="WICK_KEY_STUB")
    end = await stage.ask().end()
    assert isinstance(end, Failed)
    assert "WICK_KEY_STUB" in end.message
    assert stub.calls == []
    monkeypatch.setenv("WICK_KEY_STUB", "s3cret")
    assert isinstance(await stage.ask().end(), Finished)
    assert stub.calls[0].headers["authorization"] == "Bearer s3cret"
    monkeypatch.setenv("WICK_KEY_STUB", "s3cr\u00e9t")
    end = await stage.ask().end()
    assert isinstance(end, Failed)
    assert "does not hold a key" in end.message


async def test_stop_closes_the_connection_at_once(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("Once upon")
        await wait_for_ever(call)

    stub.script = script
    stage = make_stage(stub)
    requester = stage.ask()
    await requester.hears(Delta)
    stage.stop(requester)
    end = await requester.end()
    async with asyncio.timeout(PATIENCE):
        await stub.calls[0].gone.wait()
    assert isinstance(end, Finished)
    assert (end.reason, requester.text, end.completion_tokens) == ("cancelled", "Once upon", 1)
    assert stage.servers.all[0].outstanding == 0


async def test_stop_works_before_the_first_word_and_in_the_queue(
    make_stage: MakeStage, stub: Stub
) -> None:
    stub.script = wait_for_ever
    stage = make_stage(stub, parallel=1)
    first = stage.ask()
    call = await stub.called()
    second = stage.ask()
    assert await second.hears(Queued)
    for requester in (second, first):
        stage.stop(requester)
        end = await requester.end()
        assert isinstance(end, Finished)
        assert end.reason == "cancelled"
    async with asyncio.timeout(PATIENCE):
        await call.gone.wait()
    assert len(stub.calls) == 1


async def test_a_request_that_is_stopped_before_its_task_runs_ends_once(
    make_stage: MakeStage, stub: Stub
) -> None:
    stage = make_stage(stub)
    await stage.ask().end()  # the runner is there
    requester = stage.ask()
    stage.worker.cancel(2)
    end = await requester.end()
    assert isinstance(end, Finished)
    assert end.reason == "cancelled"
    assert len(stub.calls) == 1


async def test_without_usage_chunks_are_counted(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("one", "two", "three")
        await call.finish("length")

    stub.script = script
    end = await make_stage(stub).ask().end()
    assert isinstance(end, Finished)
    assert (end.reason, end.completion_tokens) == ("length", 3)
    assert end.prompt_tokens > 0


async def test_progress_in_the_prompt_is_shown_where_the_server_reports_it(
    make_stage: MakeStage, stub: Stub
) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.event({"choices": [], "prompt_progress": {"total": 50, "processed": 25}})
        await answer_body(call)

    stub.script = script
    requester = make_stage(stub).ask()
    await requester.end()
    assert Prefill(1, 25, 50, 0, 0) in requester.heard


async def answer_body(call: Call) -> None:
    await call.say("Hello", " there")
    await call.finish()


async def test_thinking_is_separated_from_the_answer(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        for name in ("reasoning_content", "reasoning"):
            await call.event({"choices": [{"delta": {name: "hmm ", "content": None}}]})
        await answer_body(call)

    stub.script = script
    requester = make_stage(stub).ask()
    assert isinstance(await requester.end(), Finished)
    assert (requester.thought, requester.text) == ("hmm hmm ", "Hello there")


async def test_a_thought_in_front_of_the_answer_is_separated(
    make_stage: MakeStage, stub: Stub
) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("<thi", "nk>\nTwo", " and two.</th", "ink>\n\n", "Four")
        await call.finish()

    stub.script = script
    requester = make_stage(stub).ask()
    assert isinstance(await requester.end(), Finished)
    assert (requester.thought, requester.text) == ("Two and two.", "Four")


async def test_an_answer_that_is_cut_while_thinking_has_its_thought(
    make_stage: MakeStage, stub: Stub
) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.event({"choices": [{"delta": {"reasoning_content": "hmm"}}]})
        await call.finish("length")

    stub.script = script
    requester = make_stage(stub).ask()
    end = await requester.end()
    assert isinstance(end, Finished)
    assert (end.reason, requester.thought, requester.text) == ("length", "hmm", "")


@pytest.mark.parametrize(
    ("chosen", "sent"),
    [
        ({}, {}),
        (
            {"think": False},
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"},
        ),
        ({"think": True}, {"chat_template_kwargs": {"enable_thinking": True}}),
        ({"effort": "low"}, {"reasoning_effort": "low"}),
    ],
)
async def test_requests_say_how_servers_are_to_think(
    make_stage: MakeStage, stub: Stub, chosen: dict[str, Any], sent: dict[str, Any]
) -> None:
    requester = make_stage(stub).ask(**chosen)
    await requester.end()
    body = stub.calls[-1].body
    names = ("chat_template_kwargs", "reasoning_effort")
    assert {name: body[name] for name in names if name in body} == sent


class Thinker:
    """Server whose model thinks in pieces of a text until it is cut, or told not to."""

    def __init__(self, piece: str = "hmm ", *, obeys: bool = True) -> None:
        self._piece = piece
        self._obeys = obeys

    async def __call__(self, call: Call) -> None:
        await call.head()
        is_told = call.body.get("chat_template_kwargs") == {"enable_thinking": False}
        if not is_told:
            while not call.gone.is_set():
                await self._think(call)
                await asyncio.sleep(0)
            return
        if not self._obeys:
            for _ in range(3):
                await self._think(call)
        await answer_body(call)

    async def _think(self, call: Call) -> None:
        await call.event({"choices": [{"delta": {"reasoning_content": self._piece}}]})


async def test_a_thought_that_reaches_its_limit_is_followed_by_the_answer(
    make_stage: MakeStage, stub: Stub
) -> None:
    stub.script = Thinker()
    requester = make_stage(stub).ask(max_thought_tokens=5, max_tokens=50)
    end = await requester.end()
    assert isinstance(end, Finished)
    assert (end.reason, requester.thought, requester.text) == ("stop", "hmm " * 5, "Hello there")
    assert end.completion_tokens == 7
    first, second = stub.calls
    assert (first.body["max_thought_tokens"], first.body["thinking_budget_tokens"]) == (5, 5)
    assert (second.body["reasoning_effort"], second.body["max_tokens"]) == ("none", 45)
    assert "thinking_budget" not in second.body


async def test_a_model_that_cannot_but_think_thinks_on_after_the_limit(
    make_stage: MakeStage, stub: Stub
) -> None:
    stub.script = Thinker(obeys=False)
    requester = make_stage(stub).ask(max_thought_tokens=2)
    assert isinstance(await requester.end(), Finished)
    assert len(stub.calls) == 2
    assert (requester.thought, requester.text) == ("hmm hmm \n\nhmm hmm hmm ", "Hello there")


async def test_pieces_of_many_tokens_reach_the_limit_as_well(
    make_stage: MakeStage, stub: Stub
) -> None:
    stub.script = Thinker("hmm " * 100)
    requester = make_stage(stub).ask(max_thought_tokens=50)
    assert isinstance(await requester.end(), Finished)
    assert (requester.thought, requester.text) == ("hmm " * 100, "Hello there")


async def test_an_answer_follows_a_thought_that_was_cut_without_another_thought(
    make_stage: MakeStage, stub: Stub
) -> None:
    stub.script = Thinker()
    requester = make_stage(stub).ask(thought="Two and two", effort="high")
    assert isinstance(await requester.end(), Finished)
    assert (requester.thought, requester.text) == ("", "Hello there")
    assert stub.calls[0].body["reasoning_effort"] == "none"


async def dies(call: Call) -> None:
    call.writer.transport.abort()


async def half_an_event(call: Call) -> None:
    await call.raw(b'data: {"choices": [{"delta": {"content": "lost')


async def no_json(call: Call) -> None:
    await call.raw(b"data: {oops\n\n")


async def another_protocol(call: Call) -> None:
    await call.event({"choices": "none"})


async def no_text(call: Call) -> None:
    await call.raw(b"data: \xff\xfe\n\n")


async def huge_line(call: Call) -> None:
    for _ in range(40):
        await call.raw(b"data: " + b"x" * 65536)


async def an_error(call: Call) -> None:
    await call.event({"error": {"message": "out of memory", "code": 500}})


async def an_old_error(call: Call) -> None:
    await call.raw(b'error: {"code":500,"message":"out of memory","type":"server_error"}\n\n')


async def wrong_counts(call: Call) -> None:
    await call.event({"choices": [], "usage": {"prompt_tokens": -5}})


async def no_string(call: Call) -> None:
    await call.event({"choices": [{"delta": {"content": 7}}]})


MIDDLES: dict[str, tuple[Script, str]] = {
    "dies": (dies, "broke off|ends in the middle"),
    "half an event": (half_an_event, "ends in the middle"),
    "no json": (no_json, "is not OpenAI's protocol"),
    "another protocol": (another_protocol, "is not OpenAI's protocol"),
    "no text": (no_text, "is not text"),
    "huge line": (huge_line, "without end"),
    "an error": (an_error, "out of memory"),
    "an old error": (an_old_error, "out of memory"),
    "wrong counts": (wrong_counts, "counts wrongly"),
    "no string": (no_string, "is not OpenAI's protocol"),
}


@pytest.mark.parametrize("name", MIDDLES)
async def test_an_error_in_mid_stream_keeps_the_text(
    make_stage: MakeStage, stub: Stub, other: Stub, name: str
) -> None:
    bad, words = MIDDLES[name]

    async def script(call: Call) -> None:
        await call.head()
        await call.say("so far")
        await heard.wait()
        await bad(call)

    heard = asyncio.Event()
    stub.script = script
    stage = make_stage(stub, other)
    requester = stage.ask()
    await requester.hears(Delta)
    heard.set()
    end = await requester.end()
    assert isinstance(end, Interrupted)
    assert re.search(words, end.message)
    assert requester.text == "so far"
    assert other.calls == []  # never after the first word
    assert isinstance(await stage.ask().end(), Finished | Interrupted)
    assert len(requester.ends) == 1


@pytest.mark.parametrize("name", MIDDLES)
async def test_a_request_that_fails_before_its_first_word_goes_to_another_server(
    make_stage: MakeStage, stub: Stub, other: Stub, name: str
) -> None:
    bad, words = MIDDLES[name]

    async def script(call: Call) -> None:
        await call.head()
        await bad(call)

    stub.script = script
    stage = make_stage(stub, other)
    requester = stage.ask()
    assert isinstance(await requester.end(), Finished)
    assert requester.text == "Hello there"
    assert stage.servers.all[0].health == "down"
    other.script = script
    end = await stage.ask().end()
    assert isinstance(end, Failed)
    assert re.search(words, end.message)
    assert "out of memory" not in stage.servers.all[1].trouble  # nobody's words for everybody


async def redirects(call: Call) -> None:
    await call.head(302, {"Location": "http://169.254.169.254/secret", "Content-Length": "0"})


async def a_page(call: Call) -> None:
    await call.head(200, {"Content-Type": "text/html"})
    await call.raw(b"<h1>Welcome</h1>")


async def headers_without_end(call: Call) -> None:
    await call.raw(b"HTTP/1.1 200 OK\r\n")
    while not call.gone.is_set():
        await call.raw(b"X-More: " + b"x" * 8000 + b"\r\n")


async def no_http(call: Call) -> None:
    await call.raw(b"220 mail.example.org ESMTP\r\n")


def refuses(status: int, message: str = "no") -> Script:
    async def script(call: Call) -> None:
        await call.refuse(status, message)

    return script


BEGINNINGS: dict[str, tuple[Script, str]] = {
    "hangs up": (dies, "broke off"),
    "redirects": (redirects, "does not follow"),
    "a page": (a_page, "is text/html and no stream"),
    "headers without end": (headers_without_end, "broke off"),
    "no http": (no_http, "broke off"),
    "401": (refuses(401), "wants a key"),
    "403": (refuses(403), "wants a key"),
    "404": (refuses(404, "model not found"), "has no model “stub”"),
    "500": (refuses(500, "CUDA error"), "failed with status 500: CUDA error"),
    "502": (refuses(502), "failed with status 502"),
    "402": (refuses(402, "pay first"), "refused the request with status 402: pay first"),
}


@pytest.mark.parametrize("name", BEGINNINGS)
async def test_a_wrong_response_fails_in_a_sentence_and_goes_elsewhere(
    make_stage: MakeStage, stub: Stub, other: Stub, name: str
) -> None:
    stub.script, words = BEGINNINGS[name]
    requester = make_stage(stub).ask()
    end = await requester.end()
    assert isinstance(end, Failed)
    assert words in end.message
    assert requester.text == ""
    assert len(stub.calls) == 1
    requester = make_stage(stub, other).ask()
    assert isinstance(await requester.end(), Finished)
    assert requester.text == "Hello there"


async def test_a_server_that_cannot_be_reached_fails_in_a_sentence(
    make_stage: MakeStage, stub: Stub
) -> None:
    nowhere = "http://127.0.0.1:9/v1"
    stage = make_stage(nowhere)
    end = await stage.ask().end()
    assert isinstance(end, Failed)
    assert end.message.startswith("Can't reach 127.0.0.1:9")
    assert stage.servers.all[0].health == "down"
    assert isinstance(await make_stage(nowhere, stub).ask().end(), Finished)


async def test_silence_before_the_first_word_goes_elsewhere(
    make_stage: MakeStage, stub: Stub, other: Stub
) -> None:
    stub.script = wait_for_ever
    patience = replace(QUICK, first=1.0)  # in which the other one must have answered
    assert isinstance(await make_stage(stub, other, patience=patience).ask().end(), Finished)
    end = await make_stage(stub, patience=replace(QUICK, first=0.2)).ask().end()
    assert isinstance(end, Failed)
    assert "has said nothing for 0.2 seconds" in end.message


async def test_silence_in_mid_stream_keeps_the_text(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("so far")
        while not call.gone.is_set():  # signs of life are no words
            await call.raw(b": ping\n\n")
            await asyncio.sleep(0.02)

    stub.script = script
    requester = make_stage(stub, patience=replace(QUICK, between=0.2)).ask()
    end = await requester.end()
    assert isinstance(end, Interrupted)
    assert requester.text == "so far"
    async with asyncio.timeout(PATIENCE):
        await stub.calls[0].gone.wait()


async def test_a_slow_first_word_is_waited_for(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        for _ in range(3):
            await call.raw(b": still reading\n\n")
        await may_speak.wait()
        await answer_body(call)

    may_speak = asyncio.Event()
    stub.script = script
    requester = make_stage(stub).ask()
    await stub.called()
    assert not requester.ends
    may_speak.set()
    assert isinstance(await requester.end(), Finished)


async def test_a_stream_without_done_ends_well_after_its_finish(
    make_stage: MakeStage, stub: Stub
) -> None:
    async def hangs_up(call: Call) -> None:
        await call.head()
        await call.say("Hi")
        await call.event({"choices": [{"delta": {}, "finish_reason": "stop"}]})

    async def stays(call: Call) -> None:
        await hangs_up(call)
        await wait_for_ever(call)

    stage = make_stage(stub, patience=replace(QUICK, end=0.1))
    for script in (hangs_up, stays):
        stub.script = script
        requester = stage.ask()
        assert isinstance(await requester.end(), Finished)
        assert requester.text == "Hi"


async def test_an_abort_of_the_server_can_go_on(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("so far")
        await call.finish("abort")

    stub.script = script
    end = await make_stage(stub).ask().end()
    assert isinstance(end, Interrupted)
    assert "(abort)" in end.message


def busy_at_first(times: int, status: int = 429, **headers: str) -> Script:
    left = iter(range(times))

    async def script(call: Call) -> None:
        if next(left, None) is None:
            await answer(call)
        else:
            await call.refuse(status, "slow down", **headers)

    return script


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_tried_again(make_stage: MakeStage, stub: Stub, status: int) -> None:
    stub.script = busy_at_first(3, status, Retry_After="0")
    stage = make_stage(stub)
    requester = stage.ask()
    assert isinstance(await requester.end(), Finished)
    assert len(stub.calls) == 4
    assert ModelLoading(1, "The server has too much to do; trying again in 1 s") in requester.heard
    assert stage.servers.all[0].health == "ready"


async def test_a_busy_server_is_not_waited_for_while_another_is_free(
    make_stage: MakeStage, stub: Stub, other: Stub
) -> None:
    stub.script = busy_at_first(99, Retry_After="3600")
    stage = make_stage(stub, other)
    for _ in range(3):
        assert isinstance(await stage.ask().end(), Finished)
    assert (len(stub.calls), len(other.calls)) == (1, 3)


async def test_retries_at_busy_servers_are_bounded(make_stage: MakeStage, stub: Stub) -> None:
    stub.script = busy_at_first(99, Retry_After="3600")
    end = await make_stage(stub).ask().end()
    assert isinstance(end, Failed)
    assert end.message.endswith("has too much to do: slow down.")
    assert len(stub.calls) == 1
    stub.script = busy_at_first(99)
    end = await make_stage(stub, patience=replace(QUICK, busy=0.1)).ask().end()
    assert isinstance(end, Failed)
    assert 2 <= len(stub.calls) < 12


async def test_fields_that_a_server_refuses_are_left_out_from_then_on(
    make_stage: MakeStage, stub: Stub
) -> None:
    async def strict(call: Call) -> None:
        extras = {"top_k", "stream_options", "return_progress"} & call.body.keys()
        if extras:
            await call.refuse(400, f"Unrecognized request argument supplied: {sorted(extras)[0]}")
        else:
            await answer(call)

    stub.script = strict
    stage = make_stage(stub)
    for _ in range(2):
        requester = stage.ask(sampling=replace(DEFAULT_TEMPLATE_SETTINGS, top_k=5))
        assert isinstance(await requester.end(), Finished)
    assert len(stub.calls) == 3
    assert stub.calls[1].body.keys() == {"model", "messages", "stream", "max_tokens", "temperature"}


async def test_a_request_that_is_still_refused_fails_with_the_reason(
    make_stage: MakeStage, stub: Stub, other: Stub
) -> None:
    stub.script = refuses(400, "temperature must be 1")
    stage = make_stage(stub, other)
    end = await stage.ask().end()
    assert isinstance(end, Failed)
    assert end.message.endswith("refused the request with status 400: temperature must be 1.")
    assert (len(stub.calls), len(other.calls)) == (2, 0)
    assert not stage.servers.all[0].is_plain


async def test_an_answer_is_continued_from_its_opening(make_stage: MakeStage, stub: Stub) -> None:
    stage = make_stage(stub)
    assert isinstance(await stage.ask(opening="Once").end(), Finished)
    body = stub.calls[0].body
    assert body["messages"][-1] == {"role": "assistant", "content": "Once"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    stub.script = refuses(400, "the last message must be the user's")
    end = await stage.ask(opening="Once").end()
    assert isinstance(end, Failed)
    assert "cannot go on with an answer that was cut" in end.message


def long_chat(count: int) -> tuple[Turn, ...]:
    roles = ("user", "assistant")
    said = [Turn(roles[n % 2], f"{n} " + "word " * 100) for n in range(count)]  # type: ignore[arg-type]
    return (Turn("system", "be brief"), *said, Turn("user", "and now?"))


async def test_a_chat_that_is_too_long_loses_its_oldest_turns(
    make_stage: MakeStage, stub: Stub
) -> None:
    requester = make_stage(stub).ask(turns=long_chat(60))
    end = await requester.end()
    assert isinstance(end, Finished)
    assert end.dropped > 20
    assert (await requester.hears(Prefill)).dropped == end.dropped
    messages = stub.calls[0].body["messages"]
    assert messages[0]["role"] == "system"
    assert messages[1]["role"] == "user"
    assert messages[-1]["content"] == "and now?"
    assert len(messages) == 62 - end.dropped


REFUSALS: dict[str, dict[str, object]] = {
    "vllm": {
        "message": "This model's maximum context length is 2048 tokens. However, you requested "
        "4100 tokens (4000 in the messages, 100 in the completion). Please reduce the length.",
        "type": "BadRequestError",
        "code": 400,
    },
    "llama-server": {
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 4000,
        "n_ctx": 2048,
    },
    "sglang": {
        "message": "The input (4000 tokens) is longer than the model's context length "
        "(2048 tokens)."
    },
    "without figures": {"message": "context window full"},
}


def refuses_with(error: object) -> Script:
    async def script(call: Call) -> None:
        await call.json({"error": error}, 400)

    return script


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refused_length_is_tried_once_with_fewer_turns(
    make_stage: MakeStage, stub: Stub, kind: str
) -> None:
    async def script(call: Call) -> None:
        if len(stub.calls) == 1:
            await refuses_with(REFUSALS[kind])(call)
        else:
            await answer(call)

    stub.script = script
    stage = make_stage(stub)
    end = await stage.ask(turns=long_chat(14)).end()
    assert isinstance(end, Finished)
    first, second = (call.body["messages"] for call in stub.calls)
    assert len(second) < len(first)
    assert end.dropped == len(first) - len(second)
    if "without" not in kind:
        assert end.context_length == stage.servers.window == 2048
    stub.script = refuses_with(REFUSALS[kind])
    end = await stage.ask(turns=long_chat(14)).end()
    assert isinstance(end, Failed)
    assert len(stub.calls) == 4


async def test_a_message_that_can_never_fit_fails_in_a_sentence(
    make_stage: MakeStage, stub: Stub
) -> None:
    end = await make_stage(stub).ask("word " * 20000).end()
    assert isinstance(end, Failed)
    assert "tokens long; the model can read" in end.message
    assert stub.calls == []


async def test_parameters_of_programs_are_passed_on(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        likely = {"token": "b", "logprob": -2.0, "bytes": [98]}
        token = {"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": [likely]}
        choice = chunk("a")["choices"][0] | {"logprobs": {"content": [token]}}
        await call.event({"choices": [choice]})
        await call.finish()

    stub.script = script
    sampling = replace(DEFAULT_TEMPLATE_SETTINGS, frequency_penalty=0.5, presence_penalty=-0.5)
    requester = make_stage(stub).ask(
        sampling=sampling, bias=((7, -1.5),), top_logprobs=1, schema='{"type": "object"}'
    )
    await requester.end()
    body = stub.calls[0].body
    assert (body["frequency_penalty"], body["presence_penalty"]) == (0.5, -0.5)
    assert body["logit_bias"] == {"7": -1.5}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    token = SampledToken((97,), -0.5, (TokenLogprob((98,), -2.0),))
    assert (await requester.hears(Delta)).tokens == (token,)


LOOK = ToolSpec("look", "Looks.", '{"type": "object", "properties": {"at": {"type": "string"}}}')
CALLS: list[tuple[str, list[list[dict[str, Any]]]]] = [
    (
        "as OpenAI does",
        [
            [{"index": 0, "id": "a", "function": {"name": "look", "arguments": ""}}],
            [{"index": 0, "function": {"arguments": '{"at": '}}],
            [{"index": 0, "function": {"arguments": '"sky"}'}}],
            [{"index": 1, "id": "b", "function": {"name": "wait", "arguments": "{}"}}],
        ],
    ),
    (
        "whole, with one index for all",
        [
            [{"index": 0, "id": "a", "function": {"name": "look", "arguments": '{"at": "sky"}'}}],
            [{"index": 0, "id": "b", "function": {"name": "wait", "arguments": "{}"}}],
        ],
    ),
    (
        "without index and id, and objects",
        [
            [{"function": {"name": "look", "arguments": {"at": "sky"}}}],
            [{"function": {"name": "wait"}}],
        ],
    ),
    (
        "with names that come again",
        [
            [{"index": 0, "id": "a", "function": {"name": "look", "arguments": '{"at": '}}],
            [{"index": 0, "id": "a", "function": {"name": "look", "arguments": '"sky"}'}}],
            [{"index": 1, "id": "b", "function": {"name": "wait", "arguments": ""}}],
        ],
    ),
    (
        "with arguments before the name",
        [
            [{"index": 0, "function": {"arguments": '{"at": '}}],
            [{"index": 0, "id": "a", "function": {"name": "look", "arguments": '"sky"}'}}],
            [{"index": 1, "function": {"name": "wait", "arguments": "{}"}}],
        ],
    ),
]


@pytest.mark.parametrize(("how", "pieces"), CALLS, ids=[how for how, _ in CALLS])
async def test_calls_of_tools_are_passed_on_however_a_server_sends_them(
    make_stage: MakeStage, stub: Stub, how: str, pieces: list[list[dict[str, Any]]]
) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("Let me look.")
        for calls in pieces:
            await call.event({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]})
        await call.finish("stop" if how.startswith("whole") else "tool_calls")

    stub.script = script
    requester = make_stage(stub).ask(tools=(LOOK,))
    end = await requester.end()
    assert isinstance(end, Finished)
    assert end.reason == "tool_calls"
    assert requester.text == "Let me look."
    deltas = [call for event in requester.heard if isinstance(event, Delta) for call in event.calls]
    calls = join_calls(deltas)
    assert [(call.name, call.arguments) for call in calls] == [
        ("look", '{"at": "sky"}'),
        ("wait", "{}"),
    ]
    assert all(call.id for call in calls)
    assert sum(bool(delta.name) for delta in deltas) == 2


async def test_tools_and_their_results_are_sent(make_stage: MakeStage, stub: Stub) -> None:
    turns = (
        Turn("user", "What is up?"),
        Turn("assistant", "", "hm", calls=(ToolCall("a", "look", '{"at": "sky"}'),)),
        Turn("tool", "clouds", call_id="a", tool="look"),
    )
    stage = make_stage(stub)
    given = ("auto", "required", "=look", "none")
    for choice in given:
        await stage.ask(turns=turns, tools=(LOOK,), tool_choice=choice).end()
    first, must, named, none = (call.body for call in stub.calls)
    function = first["tools"][0]["function"]
    assert (function["name"], function["parameters"]["type"]) == ("look", "object")
    assert "tool_choice" not in first
    assert must["tool_choice"] == "required"
    assert named["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert "tools" not in none
    _, called, result = first["messages"]
    assert called["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "sky"}'}
    assert called["reasoning_content"] == "hm"
    assert result == {"role": "tool", "content": "clouds", "tool_call_id": "a"}


async def test_a_text_without_turns_is_continued(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.event({"choices": [{"index": 0, "text": " a time"}]})
        await call.finish()

    stub.script = script
    requester = make_stage(stub).ask(turns=(), text="Once upon")
    assert isinstance(await requester.end(), Finished)
    assert requester.text == " a time"
    assert stub.calls[0].path == "/v1/completions"
    assert stub.calls[0].body["prompt"] == "Once upon"


async def test_a_prompt_that_must_stay_whole_is_sent_whole(
    make_stage: MakeStage, stub: Stub
) -> None:
    stage = make_stage(stub)
    assert isinstance(await stage.ask(turns=long_chat(60), allow_truncation=False).end(), Finished)
    assert len(stub.calls[0].body["messages"]) == 62
    stub.script = refuses_with(REFUSALS["vllm"])
    end = await stage.ask(turns=long_chat(60), allow_truncation=False).end()
    assert isinstance(end, Failed)
    assert end.status == 413
    assert len(stub.calls) == 2


async def test_requests_are_shared_between_servers(
    make_stage: MakeStage, stub: Stub, other: Stub
) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("hold")
        await may_end.wait()
        await call.finish()

    may_end = asyncio.Event()
    stub.script = other.script = script
    stage = make_stage(stub, other, parallel=2)
    requesters = [stage.ask() for _ in range(6)]
    await asyncio.gather(stub.called(2), other.called(2))
    assert stage.worker.status().slots == 4
    assert [server.outstanding for server in stage.servers.all] == [2, 2]
    assert [await requester.hears(Queued) for requester in requesters[4:]]
    may_end.set()
    for requester in requesters:
        assert isinstance(await requester.end(), Finished)
    assert len(stub.calls) + len(other.calls) == 6
    assert [server.outstanding for server in stage.servers.all] == [0, 0]


async def test_fewer_servers_are_fewer_slots(
    make_stage: MakeStage, stub: Stub, other: Stub
) -> None:
    stub.script = dies
    stage = make_stage(stub, other, parallel=2)
    assert isinstance(await stage.ask().end(), Finished)
    assert stage.worker.status().slots == 2
    stage.servers.is_up(stage.servers.all[0])
    async with asyncio.timeout(PATIENCE):
        while stage.worker.status().slots != 4:
            await asyncio.sleep(0)


async def test_the_end_of_wick_ends_answers(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.say("so far")
        await wait_for_ever(call)

    stub.script = script
    stage = make_stage(stub)
    requester = stage.ask()
    await requester.hears(Delta)
    await stage.worker.close("Wick was stopped.", 1.0)
    assert requester.ends == [Interrupted(1, "Wick was stopped.")]
    async with asyncio.timeout(PATIENCE):
        await stub.calls[0].gone.wait()


async def test_text_that_cannot_be_kept_is_replaced(make_stage: MakeStage, stub: Stub) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.raw(
            b'data: {"choices":[{"delta":{"content":"a\\ud83d\\u0000\\ud83d\\ude00"}}]}\r\n\r\n'
        )
        await call.finish()

    stub.script = script
    requester = make_stage(stub).ask()
    await requester.end()
    assert requester.text == "a\ufffd\ufffd\U0001f600"
