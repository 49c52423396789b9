"""Messages far too long are refused as such, while somebody else's answer goes on."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import TINY, StartServer
from tests.page_bench.oversized import AT_ONCE, TEXTS, oversized, refusals, streamed
from tests.patience import PATIENCE


@pytest.mark.parametrize("kind", TEXTS)
async def test_a_million_characters_are_refused_and_a_stream_goes_on(
    start: StartServer, tiny_store: Path, kind: str
) -> None:
    own = await start(tiny_store, max_tokens=30000, context=4096, slots=2)
    async with httpx.AsyncClient(base_url=own.origin, timeout=PATIENCE) as client:
        answer = streamed(client, TINY, 30_000)
        await anext(answer)
        (runner,) = own.runners()
        found = await refusals(client, TINY, oversized(TEXTS[kind]))
        assert found == [(400, "context_length_exceeded")] * AT_ONCE
        await anext(answer)
        assert own.runners() == [runner]
        await answer.aclose()  # type: ignore[attr-defined]
