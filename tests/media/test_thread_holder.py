from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import AttachmentRefused, MediaRefused
from app.inference.runner.threads import FilePermits
from app.media import audio, pictures
from app.media.audio import AudioDecoder
from app.media.permits import MediaPermits
from app.media.pictures import PictureDecoder
from app.media.thread_holder import ThreadHolder
from tests.patience import until


def free(permits: FilePermits, budget: int) -> int:
    with permits.acquire(budget) as count:
        return count


async def test_a_thread_is_held_meanwhile_and_one_is_left_to_answers(tmp_path: Path) -> None:
    permits, holder = FilePermits(tmp_path, 3), ThreadHolder.of_folder(tmp_path, 3)
    async with holder.hold():
        assert free(permits, 3) == 2
        async with holder.hold(), holder.hold(), holder.hold():
            assert free(permits, 3) == 1
        assert free(permits, 3) == 2
    assert free(permits, 3) == 3


async def test_the_last_thread_is_left_to_answers(tmp_path: Path) -> None:
    async with ThreadHolder.of_folder(tmp_path, 1).hold():
        assert free(FilePermits(tmp_path, 1), 1) == 1


def test_children_leave_one_thread_too(tmp_path: Path) -> None:
    permits, child = FilePermits(tmp_path, 2), MediaPermits(tmp_path, 2)
    with child.acquire(1), child.acquire(1):
        assert free(permits, 2) == 1
    with child.acquire(1):
        assert free(permits, 2) == 1
    assert free(permits, 2) == 2


async def test_who_is_cancelled_while_it_waits_keeps_no_thread(tmp_path: Path) -> None:
    permits, holder = FilePermits(tmp_path, 2), ThreadHolder.of_folder(tmp_path, 2)

    async def hold() -> None:
        async with holder.hold():
            pytest.fail("all threads were taken")

    with permits.acquire(2):
        waiting = asyncio.create_task(hold())
        await asyncio.sleep(0)  # it waits
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await until(lambda: free(permits, 2) == 2)


@pytest.mark.parametrize(
    ("module", "decoder", "refusal"),
    [(audio, AudioDecoder, MediaRefused), (pictures, PictureDecoder, AttachmentRefused)],
)
async def test_a_decoder_holds_a_thread_before_its_process_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    decoder: Any,
    refusal: type[Exception],
) -> None:
    permits, counts = FilePermits(tmp_path, 2), list[int]()
    run: Callable[..., Awaitable[Any]] = module._run

    async def counted(*given: Any) -> Any:
        counts.append(free(permits, 2))
        return await run(*given)

    monkeypatch.setattr(module, "_run", counted)
    with pytest.raises(refusal):
        await decoder(ThreadHolder.of_folder(tmp_path, 2)).decode("talk", b"nothing of use")
    assert counts == [1]
    assert free(permits, 2) == 2
