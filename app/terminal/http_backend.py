"""The backend behind HTTP: Wick's own resources of a server, here or on another machine."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from app.conversations.refs import AnswerRef
from app.conversations.settings import ChatSettings
from app.errors import ConfigError, ModelNotFound, PeerError
from app.terminal.backend import (
    ChatSummary,
    Event,
    ExportFormat,
    ModelSummary,
    OpenChat,
    SearchHit,
)
from app.terminal.responses import error_of, follow, parse_chat, parse_hit, parse_message

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
SAFE: Final = ("127.0.0.1", "::1", "localhost")


@asynccontextmanager
async def connect(
    url: str, key: str, trust: ssl.SSLContext | None = None
) -> AsyncIterator[HttpBackend]:
    """Reach a server. `key`: an API key, empty for none; trust: in which certificates, None: as is
    usual.

    Raises ConfigError for what is no address.
    """
    try:
        address = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigError(f"--url {url} is wrong: it takes an address such as http://box:8000.")
    async with _client(address, key, trust or httpx.create_ssl_context()) as client:
        yield HttpBackend(client, str(address))


@asynccontextmanager
async def connect_private(url: str, secret: str) -> AsyncIterator[HttpBackend]:
    """Reach the server of this very process, of whose place nobody needs to know."""
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # those of the system take a while
    async with _client(httpx.URL(url), secret, no_certificates) as client:
        yield HttpBackend(client, "")


def _client(address: httpx.URL, key: str, trust: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=TIMEOUT,
        verify=trust,
        trust_env=address.host not in SAFE,  # a proxy is not on the way to this very machine
    )


class HttpBackend:
    """Implements Backend with the resources under `/api/v1`."""

    def __init__(self, client: httpx.AsyncClient, location: str) -> None:
        self._client = client
        self.location = location

    async def models(self) -> Sequence[ModelSummary]:
        models = await self._get("/models")
        if not models["data"] and (error := models.get("error")):
            raise ModelNotFound(f"No model installed yet. {error}")
        return [
            ModelSummary(model["name"], model["title"], model["note"], model["sent_to"])
            for model in models["data"]
        ]

    async def chats(self, limit: int) -> Sequence[ChatSummary]:
        chats: list[ChatSummary] = []
        for name in ("pinned", "listed"):
            after: str | None = ""
            while after is not None and len(chats) < limit:
                wanted = {"list": name} | ({"after": after} if after else {})
                page = await self._get("/chats", wanted)
                chats += [parse_chat(chat) for chat in page["data"]]
                after = page["next"]
        return sorted(chats, key=lambda chat: -chat.updated_at)[:limit]

    async def open(self, chat_id: str) -> OpenChat:
        chat = await self._get(f"/chats/{chat_id}")
        path = await self._get(f"/chats/{chat_id}/messages")
        return OpenChat(parse_chat(chat), [parse_message(message) for message in path["data"]])

    async def begin(self, text: str, model: str, chosen: ChatSettings) -> AnswerRef:
        body = {"text": text, "model": model, "settings": chosen.overrides}
        return await self._ask("/chats", body)

    async def submit(self, chat_id: str, text: str, model: str) -> AnswerRef:
        return await self._ask(f"/chats/{chat_id}/messages", {"text": text, "model": model})

    async def regenerate(self, chat_id: str, message_id: int, model: str) -> AnswerRef:
        return await self._ask(f"{_message(chat_id, message_id)}/again", {"model": model})

    async def edit(self, chat_id: str, message_id: int, text: str, model: str) -> AnswerRef:
        body = {"text": text, "model": model}
        return await self._ask(f"{_message(chat_id, message_id)}/edit", body)

    async def continue_answer(self, chat_id: str, message_id: int) -> AnswerRef:
        return await self._ask(f"{_message(chat_id, message_id)}/continue", {})

    def follow(self, asked: AnswerRef, start: int = 0) -> AsyncGenerator[Event]:
        return follow(self._client, asked, start)

    async def stop(self, chat_id: str) -> None:
        await self._send("POST", f"/chats/{chat_id}/stop")

    async def settings(self, chat_id: str) -> ChatSettings:
        values = dict((await self._get(f"/chats/{chat_id}"))["settings"])
        stop = values.pop("stop", None)
        return ChatSettings(stop=tuple(stop) if stop else None, **values)

    async def choose_settings(self, chat_id: str, chosen: ChatSettings) -> None:
        await self._send("PATCH", f"/chats/{chat_id}", {"settings": chosen.overrides})

    async def choose_model(self, chat_id: str, model: str) -> None:
        await self._send("PATCH", f"/chats/{chat_id}", {"model": model})

    async def rename(self, chat_id: str, title: str) -> None:
        await self._send("PATCH", f"/chats/{chat_id}", {"title": title})

    async def delete(self, chat_id: str) -> None:
        await self._send("DELETE", f"/chats/{chat_id}")

    async def restore(self, chat_id: str) -> None:
        await self._send("PATCH", f"/chats/{chat_id}", {"deleted": False})

    async def delete_permanently(self, chat_id: str) -> None:
        await self._send("DELETE", f"/chats/{chat_id}", wanted={"forever": "true"})

    async def search(self, words: str) -> Sequence[SearchHit]:
        hits = await self._get("/search", {"q": words})
        return [parse_hit(hit) for hit in hits["data"]]

    async def export(self, chat_id: str, form: ExportFormat) -> bytes:
        response = await self._send("GET", f"/chats/{chat_id}/export.{form}")
        return response.content

    @property
    def _address(self) -> str:
        return str(self._client.base_url).rstrip("/")

    async def _ask(self, path: str, body: dict[str, Any]) -> AnswerRef:
        """Once, even when its first sending went astray: the server knows it by its id."""
        body = body | {"client_id": secrets.token_hex(16)}
        answer = await self._send("POST", path, body)
        made = answer.json()
        prompt_id = made["prompt"]["id"] if made["prompt"] else None
        return AnswerRef(made["chat"]["id"], prompt_id, made["answer"]["id"])

    async def _get(self, path: str, wanted: dict[str, str] | None = None) -> Any:
        return (await self._send("GET", path, wanted=wanted)).json()

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        wanted: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Raises PeerError, or the error that the server names."""
        try:
            response = await self._client.request(
                method, f"/api/v1{path}", json=body, params=wanted
            )
        except httpx.TransportError as error:
            raise PeerError(f"Wick at {self._address} cannot be reached: {_why(error)}.") from error
        if not response.is_success:
            raise error_of(response, self._address)
        return response


def _message(chat_id: str, message_id: int) -> str:
    return f"/chats/{chat_id}/messages/{message_id}"


def _why(error: httpx.TransportError) -> str:
    return "it takes too long" if isinstance(error, httpx.TimeoutException) else "nothing answers"
