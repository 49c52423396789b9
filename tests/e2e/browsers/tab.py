"""A tab of any browser: found by role and name, driven by real clicks and keys."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from tests.patience import PATIENCE

POLL_SECONDS = 0.05


class Tab(Protocol):
    """What each browser can be told. Of several elements of one name it takes the last."""

    async def open(self, address: str) -> None: ...

    async def reload(self) -> None: ...

    async def back(self) -> None: ...

    async def forward(self) -> None: ...

    async def evaluate(self, function: str, argument: object = None) -> Any: ...

    async def hover(self, role: str, name: str) -> None: ...

    async def click(self, role: str, name: str) -> None: ...

    async def type(self, text: str) -> None:
        """Type where the focus is."""

    async def press(self, key: str) -> None: ...

    async def beside(self) -> Tab:
        """Open another tab of the same person."""

    async def close(self) -> None: ...


async def expect_to_hold(tab: Tab, condition: str, argument: object = None) -> None:
    """Return when a condition (a JavaScript function) holds on the page."""
    async with asyncio.timeout(PATIENCE):
        while not await tab.evaluate(condition, argument):
            await asyncio.sleep(POLL_SECONDS)
