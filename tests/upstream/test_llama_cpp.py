"""A real llama-server behind Wick. Runs where `pip install xllamacpp` has brought one (34 MB)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.conversations.answer_state import MessageRef
from tests.application import OWN
from tests.e2e.server import POLL, free_port
from tests.patience import PATIENCE, until
from tests.tiny_gguf import write_tiny_gguf
from tests.upstream.conftest import Fronted
from tests.upstream.front import CHAT

pytest.importorskip("xllamacpp")
PROGRAM = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_parallel, params.n_ctx, params.endpoint_slots = 2, 65536, True
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
threading.Event().wait()
"""


class LlamaServer:
    """In a process of its own, with two slots."""

    def __init__(self, model: Path) -> None:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self._model = model
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> LlamaServer:
        """Returns when it serves. Again after an end: on the same port."""
        nowhere = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, str(self._model), str(self.port)),
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
        )
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as client:
            while not await self._serves(client):
                assert self._process.returncode is None
                await asyncio.sleep(POLL)
        return self

    async def _serves(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.origin}/health")).status_code == 200
        except httpx.TransportError:
            return False

    async def is_idle(self) -> None:
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as client:
            while any(
                s["is_processing"] for s in (await client.get(f"{self.origin}/slots")).json()
            ):
                await asyncio.sleep(POLL)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("llama") / "tiny.gguf", context_length=32768)


@pytest.fixture
async def llama(model: Path) -> AsyncIterator[LlamaServer]:
    server = await LlamaServer(model).start()
    yield server
    await server.kill()


async def test_a_chat_with_its_figures(fronted: Fronted, llama: LlamaServer) -> None:
    front = await fronted(llama)
    first = await front.ended(await front.ask("Hello there"))
    asked = {"messages": [{"role": "user", "content": "Hello there"}], "temperature": 0}
    async with httpx.AsyncClient(base_url=llama.origin) as client:
        url = "/v1/chat/completions"
        direct = (await client.post(url, json=asked | {"max_tokens": 40})).json()
    assert first.text == direct["choices"][0]["message"]["content"] != ""
    assert (first.status, first.finish_reason) == ("done", "length")
    assert (first.prompt_tokens, first.completion_tokens) == (direct["usage"]["prompt_tokens"], 40)
    second = await front.ended(await front.ask("And more?", "client02"))
    assert (second.cached_tokens or 0) > 0
    await until(lambda: front.window == 32768)


async def test_programs_get_what_they_ask_for(fronted: Fronted, llama: LlamaServer) -> None:
    client = (await fronted(llama)).app.test_client()
    turn = {"role": "user", "content": "Yes or no?"}
    schema = {"name": "x", "schema": {"enum": ["yes", "no"]}}
    body = {
        "model": "far",
        "messages": [turn],
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    reply = await client.post("/v1/chat/completions", json=body, headers=OWN)
    choice = (await reply.get_json())["choices"][0]
    assert choice["message"]["content"] in {'"yes"', '"no"'}
    assert len(choice["logprobs"]["content"][0]["top_logprobs"]) == 2
    body = {"model": "far", "prompt": "Once", "max_tokens": 3, "logprobs": 1}
    reply = await client.post("/v1/completions", json=body, headers=OWN)
    assert len((await reply.get_json())["choices"][0]["logprobs"]["tokens"]) == 3
    for stream in (False, True):
        body = {"model": "far", "messages": [turn | {"content": "word " * 40000}], "stream": stream}
        reply = await client.post("/v1/chat/completions", json=body, headers=OWN)
        assert reply.status_code == 400
        assert (await reply.get_json())["error"]["code"] == "context_length_exceeded"


async def test_stop_and_death(fronted: Fronted, llama: LlamaServer) -> None:
    front = await fronted(llama, 30000)
    answer = await front.ask("Tell me everything")
    await front.writes(answer)
    await front.here.answers.stop(1, CHAT)
    stopped = await front.ended(answer)
    assert stopped.status == "stopped"
    await llama.is_idle()
    await front.here.branches.continue_answer(MessageRef(1, CHAT, answer))
    await until(lambda: len(getattr(front.here.hub.stream(answer), "text", "")) > len(stopped.text))
    await llama.kill()
    ended = await front.ended(answer)
    assert ended.status == "interrupted"
    assert ended.text.startswith(stopped.text)
    client = front.app.test_client()
    body = {"model": "far", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    for stream in (False, True):
        reply = await client.post(
            "/v1/chat/completions", json=body | {"stream": stream}, headers=OWN
        )
        assert reply.status_code == 502
        assert "Can't reach" in (await reply.get_json())["error"]["message"]
    await llama.start()
    reply = await client.post("/v1/chat/completions", json=body, headers=OWN)
    assert reply.status_code == 200
