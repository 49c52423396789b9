"""Tokens of prompts and texts, counted and shown without loading their model."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from dataclasses import replace
from typing import Final

import msgspec

from app.errors import ApiError, QueueFull
from app.inference.protocol import CHARACTERS_PER_IMAGE, Generate, to_line
from app.inference.remote.request import TokenEstimator
from app.logs.child import relay_noise
from app.models.model import Model, Turn
from app.models.text.token_count import can_count
from app.models.text.tokenization_job import TokenizationJob, TokenizationResult

log = logging.getLogger(__name__)
MAX_SECONDS: Final = 30.0
MAX_CONCURRENT_JOBS: Final = 2
MAX_WAITING_JOBS: Final = 32
TOKENS_PER_IMAGE: Final = CHARACTERS_PER_IMAGE // 4


class Tokenization:
    """Runs jobs in processes of their own, a few at a time."""

    def __init__(self) -> None:
        self._permits = asyncio.Semaphore(MAX_CONCURRENT_JOBS)
        self._waiting = 0

    async def count(self, model: Model, command: Generate, pictures: int = 0) -> int:
        """Count the tokens of a prompt: exactly where Wick has the model's tokenizer, but for its
        pictures. Raises as `run` does."""
        shown = pictures * TOKENS_PER_IMAGE
        if not await asyncio.to_thread(can_count, model):
            begun = [Turn("assistant", command.opening)] if command.opening else []
            return TokenEstimator().tokens([*command.turns, *begun]) + shown
        found = await self.read(model, replace(command, allow_truncation=False))
        return len(found.ids) + shown

    async def read(self, model: Model, command: Generate) -> TokenizationResult:
        """Build a prompt, without pictures. Raises as `run` does."""
        return await self.run(model, TokenizationJob(command=to_line(command).decode()))

    async def run(self, model: Model, job: TokenizationJob) -> TokenizationResult:
        """Raises ApiError where it cannot be done, QueueFull when too many wait."""
        if not await asyncio.to_thread(can_count, model):
            raise ApiError(
                "Wick doesn't have this model's tokenizer.",
                status=501,
                param="model",
                code="unsupported",
            )
        if self._waiting >= MAX_WAITING_JOBS:
            raise QueueFull("Too many texts are waiting to be tokenized. Try again in a while.")
        self._waiting += 1
        try:
            async with self._permits:
                result = await _run(model, job)
        finally:
            self._waiting -= 1
        if result is None:
            raise ApiError("The text could not be tokenized in time.", status=500)
        if result.error:
            raise ApiError(result.error, status=result.status)
        return result


async def _run(model: Model, job: TokenizationJob) -> TokenizationResult | None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.inference.runner.tokenization", str(model.folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    noise = b""
    try:
        async with asyncio.timeout(MAX_SECONDS):
            said, noise = await process.communicate(msgspec.json.encode(job))
        return msgspec.json.decode(said, type=TokenizationResult)
    except TimeoutError:
        log.warning("Tokenizing for %s took too long.", model.name)
    except msgspec.MsgspecError:
        log.warning("A text was not tokenized for %s.", model.name)
        relay_noise(noise, "tokenization", log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return None
