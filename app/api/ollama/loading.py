"""Loading, keep-alive and unloading of models by Ollama's protocol."""

from __future__ import annotations

import asyncio
import math
import re
from typing import Final

from app.errors import ApiError, ModelBusy
from app.web.context import server_context
from app.web.security.identity import identity

KeepAlive = float | str
MAX_SECONDS: Final = 365 * 86400.0
"""Seconds; what is longer is for ever."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)"


def set_keep_alive(name: str, seconds: float | None) -> None:
    """Set how long the model stays, for the owner only: others may need its memory, or it."""
    if seconds is not None and identity().is_owner:
        server_context().pool.set_keep_alive(name, seconds)


async def load_or_unload(name: str, keep_alive: KeepAlive | None) -> str:
    """Return what was done, when it is done. Raises ApiError, or why the model cannot be loaded."""
    context = server_context()
    context.answers.resolve_settings(name, chats=False)
    seconds = seconds_of(keep_alive)
    if seconds == 0:
        if identity().is_owner:
            await _unload(name)
        return "unload"
    await _load(name)
    set_keep_alive(name, seconds)
    return "load"


def seconds_of(keep_alive: KeepAlive | None) -> float | None:
    """Seconds as such, or a time such as `1h30m`; infinite for what is negative. ApiError."""
    if keep_alive is None:
        return None
    text = str(keep_alive).strip().removeprefix("+")
    try:
        seconds = float(text)
    except ValueError:
        amount = text.removeprefix("-")
        if not re.fullmatch(f"(?:{_PART})+", amount):
            raise ApiError(
                f"keep_alive takes a time such as 5m, or seconds, and no “{text}”.",
                param="keep_alive",
            ) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, amount))
        seconds = -seconds if amount != text else seconds
    return seconds if 0 <= seconds <= MAX_SECONDS else math.inf


async def _unload(name: str) -> None:
    """Unload at once, or when what runs and waits has ended."""
    try:
        await server_context().pool.unload(name)
    except ModelBusy:
        server_context().pool.set_keep_alive(name, 0)


async def _load(name: str) -> None:
    """Raises ApiError when it fails. What is loaded already is no news to wait for."""
    pool, states = server_context().pool, asyncio.Queue[str]()

    def hear() -> None:
        if (status := pool.status(name)) is not None:
            states.put_nowait(status.state)

    pool.listeners.append(hear)
    try:
        pool.load(name)
        hear()
        was_loading = False
        while (now := await states.get()) != "ready":
            if was_loading and now != "loading":
                status = pool.status(name)
                why = status.error if status is not None else None
                raise ApiError(why or "The load was given up.", status=503)
            was_loading = now == "loading"
    finally:
        pool.listeners.remove(hear)
