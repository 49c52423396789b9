"""Messages far too long are refused as such, while somebody else's answer goes on."""

from __future__ import annotations

import httpx
import pytest

from tests.bench.oversized import AT_ONCE, TEXTS, oversized, refusals, streamed
from tests.e2e.conftest import TINY
from tests.e2e.server import Server
from tests.patience import PATIENCE


@pytest.mark.parametrize("kind", TEXTS)
async def test_a_million_characters_are_refused_and_a_stream_goes_on(
    endless: Server, kind: str
) -> None:
    async with httpx.AsyncClient(base_url=endless.origin, timeout=PATIENCE) as client:
        answer = streamed(client, TINY, 30_000)
        await anext(answer)
        (runner,) = endless.runners()
        found = await refusals(client, TINY, oversized(TEXTS[kind]))
        assert found == [(400, "context_length_exceeded")] * AT_ONCE
        await anext(answer)
        assert endless.runners() == [runner]
        await answer.aclose()  # type: ignore[attr-defined]
