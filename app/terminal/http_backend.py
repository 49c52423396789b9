"""The backend behind HTTP: Wick's own resources of a server, here or on another machine."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from app.conversations.answer_state import AnswerRef
from app.conversations.settings import ChatSettings
from app.conversations.tool_calls import Decision
from app.errors import ChatNotFound, ConfigError, ModelNotFound, PeerError, WickError
from app.net import is_loopback
from app.terminal.answer_events import follow
from app.terminal.files import LocalFile, SentFile
from app.terminal.records import (
    ChatSummary,
    Event,
    ExportFormat,
    ModelSummary,
    OpenChat,
    PersonaRecord,
    PromptRecord,
    SearchHit,
    ToolSummary,
    error_of,
    parse_message,
)

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)


@asynccontextmanager
async def connect(
    url: str, key: str, trust: ssl.SSLContext | None = None
) -> AsyncIterator[HttpBackend]:
    """Connect to a server.

    `key`: an API key, empty for none; trust: in which certificates, None: as is usual.

    Raises ConfigError for what is no address.
    """
    try:
        address = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigError(f"--url {url} is not an address such as http://box:8000.")
    async with _client(address, key, trust or httpx.create_ssl_context()) as client:
        yield HttpBackend(client, str(address))


@asynccontextmanager
async def connect_private(url: str, secret: str) -> AsyncIterator[HttpBackend]:
    """Connect to the server of this very process, whose address nobody needs to know."""
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # those of the system take a while
    async with _client(httpx.URL(url), secret, no_certificates) as client:
        yield HttpBackend(client, "")


def _client(address: httpx.URL, key: str, trust: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=TIMEOUT,
        verify=trust,
        trust_env=not is_loopback(address.host),  # a proxy is not on the way to this very machine
    )


class HttpBackend:
    """One user's chats and models, by the resources under `/api/v1`.

    Every method may raise a WickError, a sentence."""

    can_save = True
    """Whether chats outlive this backend."""

    def __init__(self, client: httpx.AsyncClient, location: str) -> None:
        self._client = client
        self.location = location

    async def models(self) -> Sequence[ModelSummary]:
        models = await self._get("/models")
        if not models["data"] and (error := models.get("error")):
            raise ModelNotFound(f"No model installed yet. {error}")
        return [
            ModelSummary(
                model["name"], model["title"], model["note"], model["sent_to"], model["kind"]
            )
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
        messages = [parse_message(message) for message in path["data"]]
        return OpenChat(parse_chat(chat), messages, await self._persona_of(chat))

    async def _persona_of(self, chat: dict[str, Any]) -> PersonaRecord | None:
        if not (persona_id := chat.get("persona")):
            return None
        with contextlib.suppress(ChatNotFound):  # deleted meanwhile
            return parse_persona(await self._get(f"/personas/{persona_id}"))
        return None

    async def begin(
        self,
        text: str,
        model: str,
        chosen: ChatSettings,
        files: Sequence[SentFile] = (),
        persona: PersonaRecord | None = None,
        *,
        is_temporary: bool = False,
        tools: Sequence[str] = (),
    ) -> AnswerRef:
        """Begin a chat. `is_temporary`: it is kept in the server's memory alone; tools: those that
        are on in it."""
        body: dict[str, Any] = {"text": text, "model": model, "settings": chosen.overrides}
        body |= {"temporary": is_temporary} | ({"persona": persona.id} if persona else {})
        body |= {"tools": list(tools)} if tools else {}
        return await self._ask("/chats", body | _attached(files))

    async def submit(
        self, chat_id: str, text: str, model: str, files: Sequence[SentFile] = ()
    ) -> AnswerRef:
        body = {"text": text, "model": model}
        return await self._ask(f"/chats/{chat_id}/messages", body | _attached(files))

    async def upload(self, file: LocalFile, model: str, *, is_temporary: bool = False) -> SentFile:
        """Send a file for a message to come, which this model is to read, in a chat of that
        kind."""
        wanted = {"name": file.name, "model": model}
        wanted |= {"temporary": "true"} if is_temporary else {}
        made = (await self._send("POST", "/files", wanted=wanted, content=file.data)).json()
        return SentFile(made["id"], made["name"], made["tokens"], file, made["counted_by"] is None)

    async def remove_file(self, file: SentFile) -> None:
        await self._send("DELETE", f"/files/{file.id}")

    async def prompts(self) -> Sequence[PromptRecord]:
        """List the user's saved prompts by name."""
        found = await self._get("/prompts")
        return [PromptRecord(one["name"], one["text"], one["blanks"]) for one in found["data"]]

    async def personas(self) -> Sequence[PersonaRecord]:
        """List the user's personas by name."""
        return [parse_persona(one) for one in (await self._get("/personas"))["data"]]

    async def regenerate(self, chat_id: str, message_id: int, model: str) -> AnswerRef:
        return await self._ask(f"{_message(chat_id, message_id)}/again", {"model": model})

    async def edit(self, chat_id: str, message_id: int, text: str, model: str) -> AnswerRef:
        body = {"text": text, "model": model}
        return await self._ask(f"{_message(chat_id, message_id)}/edit", body)

    async def continue_answer(self, chat_id: str, message_id: int) -> AnswerRef:
        return await self._ask(f"{_message(chat_id, message_id)}/continue", {})

    def follow(self, ref: AnswerRef, start: int = 0) -> AsyncGenerator[Event]:
        return follow(self._client, ref, start)

    async def stop(self, chat_id: str) -> None:
        await self._send("POST", f"/chats/{chat_id}/stop")

    async def decide(self, ref: AnswerRef, number: int, decision: Decision) -> None:
        """Allow or deny a call of an answer. Raises PeerError where that was decided already."""
        path = f"{_message(ref.chat_id, ref.answer_id)}/calls/{number}"
        await self._send("POST", path, {"decision": decision})

    async def tools(self, chat_id: str) -> Sequence[ToolSummary]:
        """List the tools that may be switched on in a chat."""
        return [parse_tool(one) for one in (await self._get(f"/chats/{chat_id}/tools"))["data"]]

    async def choose_tools(self, chat_id: str, names: Sequence[str]) -> None:
        """Switch these on in a chat, and all others off."""
        await self._send("PUT", f"/chats/{chat_id}/tools", {"on": list(names)})

    async def settings(self, chat_id: str) -> ChatSettings:
        return parse_settings((await self._get(f"/chats/{chat_id}"))["settings"])

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

    async def export(self, chat_id: str, form: ExportFormat, passphrase: str = "") -> bytes:
        """Export a chat; with a passphrase encrypted by it."""
        path = f"/chats/{chat_id}/export.{form}"
        if passphrase:
            response = await self._send("POST", path, {"passphrase": passphrase})
        else:
            response = await self._send("GET", path)
        return response.content

    @property
    def _address(self) -> str:
        return str(self._client.base_url).rstrip("/")

    async def _ask(self, path: str, body: dict[str, Any]) -> AnswerRef:
        """Post a prompt. When that is cancelled, the answer that it has begun is stopped."""
        posting = asyncio.create_task(self._post_prompt(path, body))
        try:
            return await asyncio.shield(posting)
        except asyncio.CancelledError:
            with contextlib.suppress(WickError):
                await self.stop((await posting).chat_id)
            raise

    async def _post_prompt(self, path: str, body: dict[str, Any]) -> AnswerRef:
        """Post a prompt; a repeated one counts once, since the server knows it by its id."""
        body = body | {"client_id": secrets.token_hex(16)}
        made = (await self._send("POST", path, body)).json()
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
        content: bytes | None = None,
    ) -> httpx.Response:
        """Send a request. Raises PeerError, or the error that the server names."""
        try:
            response = await self._client.request(
                method, f"/api/v1{path}", json=body, params=wanted, content=content
            )
        except httpx.TransportError as error:
            raise PeerError(f"Can't reach Wick at {self._address}: {_why(error)}.") from error
        if not response.is_success:
            raise error_of(response, self._address)
        return response


def _message(chat_id: str, message_id: int) -> str:
    return f"/chats/{chat_id}/messages/{message_id}"


def _attached(files: Sequence[SentFile]) -> dict[str, Any]:
    return {"attachments": [file.id for file in files]} if files else {}


def _why(error: httpx.TransportError) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else "nothing answers"


# What a server answers, as the terminal's own values.


def parse_chat(chat: dict[str, Any]) -> ChatSummary:
    return ChatSummary(chat["id"], chat["title"], chat["model"], chat["updated_at"])


def parse_tool(tool: dict[str, Any]) -> ToolSummary:
    return ToolSummary(tool["name"], tool["description"], tool["on"])


def parse_settings(settings: dict[str, Any]) -> ChatSettings:
    stop = settings.get("stop")
    return ChatSettings(**settings | {"stop": tuple(stop) if stop else None})


def parse_persona(persona: dict[str, Any]) -> PersonaRecord:
    settings = dict(persona["settings"])
    instructions = persona["instructions"]
    if instructions:
        settings["system_prompt"] = instructions
    return PersonaRecord(
        id=persona["id"],
        name=persona["name"],
        emoji=persona["emoji"],
        instructions=instructions,
        greeting=persona["greeting"],
        model=persona["model"] or "",
        settings=parse_settings(settings),
        starters=persona["starters"],
    )


def parse_hit(hit: dict[str, Any]) -> SearchHit:
    marks = [(first, end) for first, end in hit["marks"]]
    return SearchHit(hit["chat_id"], hit["title"], hit["snippet"], marks)
