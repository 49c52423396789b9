"""Peers who have gone while their connection looks open, and those who are only silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.cli import http_server
from tests.wire.raw import PING, PONG, TEXT, frame, socket
from tests.wire.test_requests import Wick, served


@pytest.fixture
async def eager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wick]:
    """Asks often whether somebody is there, so that nobody waits for it."""
    monkeypatch.setattr(http_server, "PING_SECONDS", 0.2)
    async with served(tmp_path) as wick:
        yield wick


async def test_a_peer_who_answers_no_ping_is_gone(eager: Wick) -> None:
    async with socket(eager.port) as raw:
        await raw.ended()
        assert raw.is_over


async def test_a_peer_who_reads_nothing_is_gone(eager: Wick) -> None:
    """Whatever still waits to be sent to them."""
    async with socket(eager.port) as raw:
        raw.writer.transport.set_write_buffer_limits(high=1 << 20)
        raw.writer.write(frame(b"x" * 125, PING) * 1000)
        await raw.rest()
        assert raw.is_over


async def test_a_peer_who_answers_pings_may_be_silent(eager: Wick) -> None:
    async with socket(eager.port) as raw:
        for _ in range(3):
            assert await raw.hear_until(PING)
            await raw.send(frame(b"", PONG))
        await raw.send(frame(b"hello"))
        assert await raw.hear_until(TEXT, b"did not understand")
