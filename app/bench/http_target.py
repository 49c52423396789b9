"""Any server with the OpenAI protocol as a target: `/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from app.bench.targets import BenchRequest, TokenUsage
from app.errors import PeerError

TIMEOUT = httpx.Timeout(300.0, connect=5.0)
"""Seconds: a long prompt on a slow machine is silent for minutes."""
MAX_ERROR_CHARS = 300


class HttpTarget:
    """Server as a target; use `open`.

    Answers may run side by side, as far as the server lets them.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, model: str) -> None:
        self._client = client
        self._url = url
        self.model = model

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, model: str | None) -> AsyncIterator[HttpTarget]:
        """Connect. Raises PeerError when nobody answers there or `model` is not served."""
        base = url.rstrip("/").removesuffix("/v1")
        try:
            address = httpx.URL(base)
        except httpx.InvalidURL as error:
            raise PeerError(f"{url} is not an address: {error}.") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise PeerError(f"{url} is not an address: it begins with http:// or https://.")
        # Proxies of the environment are for the internet; this is mostly the same machine.
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            target = cls(client, base, model or "")
            target.model = await target._choose(model)
            yield target

    @property
    def name(self) -> str:
        return self._url

    async def answer(self, ask: BenchRequest) -> AsyncGenerator[str | TokenUsage]:
        body = {
            "model": self.model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in ask.turns],
            "max_tokens": ask.max_tokens,
            "temperature": ask.sampling.temperature,
            "top_p": ask.sampling.top_p,
            "seed": ask.sampling.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        usage, finished = TokenUsage(None, None), False
        try:
            async with self._client.stream(
                "POST", f"{self._url}/v1/chat/completions", json=body
            ) as response:
                await self._check(response)
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue  # comments keep the connection alive, and other fields
                    data = line.removeprefix("data:").strip()
                    if data == "[DONE]":
                        finished = True
                        break
                    chunk = self._parse(data)
                    text, ended, usage = _read_chunk(chunk, usage)
                    finished = finished or ended
                    if text:
                        yield text
        except httpx.TimeoutException as error:
            raise PeerError(f"{self._url} said nothing for {TIMEOUT.read:.0f} seconds.") from error
        except httpx.HTTPError as error:
            raise PeerError(
                f"{self._url} broke off in the middle of an answer: {_delta_text(error)}."
            ) from error
        except (TypeError, AttributeError, KeyError, IndexError, ValueError) as error:
            raise self._garbage() from error
        if not finished:
            raise PeerError(f"{self._url} broke off in the middle of an answer.")
        yield usage

    async def restart(self) -> bool:
        return False

    def memory(self) -> int | None:
        return None

    async def _choose(self, wanted: str | None) -> str:
        served = await self._served()
        if wanted is None and not served:
            raise PeerError(f"{self._url} names no model: say which with --against-model.")
        if wanted is not None and served and wanted not in served:
            raise PeerError(
                f"{self._url} serves no model named “{wanted}”; it has {', '.join(served[:8])}."
            )
        return wanted or served[0]

    async def _served(self) -> list[str]:
        """The models that the server names; none when it has no such list."""
        try:
            response = await self._client.get(f"{self._url}/v1/models")
        except httpx.HTTPError as error:
            raise PeerError(f"Nobody answers at {self._url}: {_delta_text(error)}.") from error
        if response.status_code == 404:
            return []
        await self._check(response)
        try:
            return [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, TypeError, KeyError) as error:
            raise self._garbage() from error

    async def _check(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        complaint = _error_detail(await response.aread())
        raise PeerError(f"{self._url} answered with status {response.status_code}{complaint}.")

    def _parse(self, data: str) -> dict[str, Any]:
        chunk: dict[str, Any] = json.loads(data)
        if error := chunk.get("error"):
            raise PeerError(f"{self._url} failed{_error_detail(json.dumps(error).encode())}.")
        return chunk

    def _garbage(self) -> PeerError:
        return PeerError(f"What {self._url} answers is not the OpenAI protocol.")


def _read_chunk(chunk: dict[str, Any], usage: TokenUsage) -> tuple[str, bool, TokenUsage]:
    """The text of a chunk, whether it says that the answer is whole, and the usage so far."""
    if counts := chunk.get("usage"):
        usage = TokenUsage(int(counts["prompt_tokens"]), int(counts["completion_tokens"]))
    if not chunk.get("choices"):
        return "", False, usage
    choice = chunk["choices"][0]
    delta = choice.get("delta") or {}
    # What a model thinks aloud costs the same work as what it says.
    text = delta.get("content") or delta.get("reasoning_content") or ""
    return str(text), bool(choice.get("finish_reason")), usage


def _error_detail(body: bytes) -> str:
    """The server's own words, if it has any that can be shown."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
        value = value.get("error", value)
        text = value if isinstance(value, str) else str(value["message"])
    except (ValueError, TypeError, AttributeError, KeyError):
        pass
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f": {text[:MAX_ERROR_CHARS].rstrip('.')}" if text else ""


def _delta_text(error: httpx.HTTPError) -> str:
    return str(error).rstrip(".") or type(error).__name__
