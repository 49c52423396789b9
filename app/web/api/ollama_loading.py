"""What Ollama's protocol does when it is asked nothing: load a model, or unload it."""

from __future__ import annotations

import asyncio
from typing import Final

from app.errors import ApiError
from app.web.identity import identity
from app.web.state import state

AT_ONCE: Final = (0, "0", "0s", "0m", "0h")
"""A `keep_alive` that unloads."""


async def load_or_unload(name: str, keep_alive: float | str | None) -> str:
    """Return what was done, when it is done. Raises ApiError, or why the model cannot be loaded."""
    here = state()
    here.asking.settings_for(name)
    if keep_alive in AT_ONCE:
        if identity().is_owner:  # others may be talking to it
            await here.pool.unload(name)
        return "unload"
    await _load(name)
    return "load"


async def _load(name: str) -> None:
    pool, heard, news = state().pool, list[str](), asyncio.Event()

    def hear() -> None:
        status = pool.status(name)
        heard.append(status.state if status else "idle")
        news.set()

    pool.listeners.append(hear)
    try:
        pool.load(name)
        hear()
        has_begun = False
        while True:
            for now in heard:
                if now == "ready":
                    return
                if now == "failed" and has_begun:
                    status = pool.status(name)
                    raise ApiError((status and status.error) or "It was not loaded.", status=500)
                if now == "idle" and has_begun:
                    raise ApiError("It was unloaded while it was loaded.", status=503)
                has_begun = has_begun or now == "loading"
            heard.clear()
            news.clear()
            await news.wait()
    finally:
        pool.listeners.remove(hear)
