"""Asking another server how it is: whether it answers, which models it has, how much they hold."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.config import read_secret
from app.models.upstream import MAX_CONTEXT, MIN_CONTEXT, Upstream

if TYPE_CHECKING:
    import httpx

CHECK_SECONDS: Final = 5.0
MAX_LIST_BYTES: Final = 4 << 20
MAX_ERROR_BYTES: Final = 200
_CONTEXT_NAMES: Final = (
    "max_model_len",  # vLLM, SGLang
    "context_length",  # Wick, OpenRouter
    "loaded_context_length",  # LM Studio
    "max_context_length",
    "n_ctx",  # llama-server, in `meta`
    "n_ctx_train",
)


@dataclass(frozen=True, slots=True)
class HealthResult:
    """problem: why it cannot answer, a sentence, empty when it can. context: tokens of the model's
    window, None when it does not say; others: the models it names when ours is not among them."""

    problem: str = ""
    context: int | None = None
    others: tuple[str, ...] = ()


class HttpClients:
    """HTTP clients, made when they are needed, since that takes a while; to be closed.

    They follow no redirects, so that neither a key nor a chat ends up anywhere else. The proxies of
    the environment are for other machines only.
    """

    def __init__(self) -> None:
        self._made: dict[bool, httpx.AsyncClient] = {}

    def of(self, upstream: Upstream) -> httpx.AsyncClient:
        """Return the client for that server."""
        import httpx  # here and not above: most machines never need it

        is_here = upstream.is_local
        if is_here not in self._made:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
            self._made[is_here] = httpx.AsyncClient(
                follow_redirects=False, trust_env=not is_here, limits=limits
            )
        return self._made[is_here]

    async def close(self) -> None:
        made, self._made = self._made, {}
        for client in made.values():
            await client.aclose()


def headers_for(upstream: Upstream) -> dict[str, str]:
    """Build headers, with the key if it needs one. Compression would only delay a stream."""
    key = read_secret(upstream.key_env) if upstream.key_env else ""
    plain = {"Accept-Encoding": "identity", "User-Agent": "wick"}
    return plain | ({"Authorization": f"Bearer {key}"} if key else {})


async def check(
    upstream: Upstream, clients: HttpClients | None = None, seconds: float = CHECK_SECONDS
) -> HealthResult:
    """One look, that takes at most so many seconds. Never raises."""
    import httpx

    if trouble := key_problem(upstream):
        return HealthResult(trouble)
    own = HttpClients()
    try:
        async with asyncio.timeout(seconds):
            return await _ask(upstream, (clients or own).of(upstream), seconds)
    except (TimeoutError, httpx.TimeoutException):
        return HealthResult(f"{upstream.host} has not answered within {seconds:g} seconds.")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return HealthResult(f"Can't reach {upstream.host}{error_suffix(error)}.")
    finally:
        await own.close()


async def _ask(upstream: Upstream, client: httpx.AsyncClient, seconds: float) -> HealthResult:
    headers = headers_for(upstream)
    url = f"{upstream.url}/models"
    async with client.stream("GET", url, headers=headers, timeout=seconds) as response:
        body = await read_limited(response, MAX_LIST_BYTES)
        if response.status_code in {404, 405, 501}:
            return HealthResult()  # it has no such list, which says nothing about its chat
        if response.status_code != 200:
            return HealthResult(status_message(upstream, response.status_code, error_detail(body)))
    return _found(upstream, body)


def _found(upstream: Upstream, body: bytes) -> HealthResult:
    try:
        listed = [model for model in json.loads(body)["data"] if isinstance(model, dict)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return HealthResult(f"What answers at {upstream.url} is no server with OpenAI's protocol.")
    names = [str(model.get("id", "")) for model in listed]
    for name, model in zip(names, listed, strict=True):
        if _same(name, upstream.model):
            return HealthResult(context=context_in(model))
    if len(listed) == 1 and listed[0].get("owned_by") == "llamacpp":
        return HealthResult(
            context=context_in(listed[0])
        )  # it has one model and takes any name for it
    return HealthResult(others=tuple(name[:80] for name in names[:8]))


def _same(listed: str, wanted: str) -> bool:
    return wanted in {listed, listed.removesuffix(":latest")}


def context_in(model: dict[str, Any]) -> int | None:
    """The window of a model in such a list, in tokens."""
    meta = model.get("meta")
    for values in (model, meta if isinstance(meta, dict) else {}):
        for name in _CONTEXT_NAMES:
            value = values.get(name)
            if isinstance(value, int) and MIN_CONTEXT <= value <= MAX_CONTEXT:
                return value
    return None


async def read_limited(response: httpx.Response, limit: int) -> bytes:
    """The body of a response as far as `limit` bytes."""
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) >= limit:
            break
    return bytes(body[:limit])


def status_message(upstream: Upstream, status: int, detail: str = "") -> str:
    """Explain a status other than 200 in a sentence. detail: an `error_detail`."""
    host = upstream.host
    if 300 <= status < 400:
        return (
            f"{host} sends on to another address, which Wick does not follow: name the address "
            "it leads to."
        )
    if status in {401, 403}:
        if upstream.key_env:
            return f"{host} does not accept the key in {upstream.key_env}{detail}."
        return f"{host} wants a key: name the environment variable that holds it{detail}."
    if status == 404:
        return f"{host} has no model “{upstream.model}”, or no chat at this address{detail}."
    if status == 429:
        return f"{host} has too much to do{detail}."
    if status == 503:
        return f"{host} is not ready{detail}."
    if status >= 500:
        return f"{host} failed with status {status}{detail}."
    return f"{host} refused the request with status {status}{detail}."


def key_problem(upstream: Upstream) -> str:
    """Explain in a sentence why the key cannot be sent; empty when all is well."""
    if not upstream.key_env:
        return ""
    key, which = read_secret(upstream.key_env), f"The environment variable {upstream.key_env}"
    if not key:
        return f"{which}, which should hold the key for {upstream.host}, is not set for Wick."
    if not key.isascii() or not key.isprintable():
        return f"{which} does not hold a key: there are characters in it that no key has."
    return ""


def error_detail(body: bytes) -> str:
    """The server's own words, to stand behind a sentence; empty when there are none to show."""
    text = body[:65536].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        return ""  # a page for people
    try:
        value = json.loads(text)
        value = value.get("error", value)
        text = value if isinstance(value, str) else str(value["message"])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) > MAX_ERROR_BYTES:
        text = text[: MAX_ERROR_BYTES - 1] + "…"
    return f": {text.rstrip('.')}" if text else ""


def error_suffix(error: Exception) -> str:
    """Format what a library says of a failure, to stand behind a sentence."""
    text = re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(error).split())).rstrip(".")
    return f": {text[:MAX_ERROR_BYTES]}" if text else ""
