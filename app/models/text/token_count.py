"""Counts the tokens of texts: `python -m app.models.text.token_count FOLDER < TEXTS`, as JSON.

Loading a vocabulary and tokenizing a long text hold the interpreter, so that is a process of its
own, which ends when it has counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.errors import ModelFileError
from app.logs.child import log_to_parent, relay_noise
from app.models.model import Model
from app.models.model_files import TOKENIZER_FILE

log = logging.getLogger(__name__)
MAX_SECONDS: Final = 30.0
_BYTES_PER_TOKEN: Final = 3.6
"""Between prose (4 to 5 in English) and code (about 3)."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is; models differ by a third and more."""
    return max(1, round(len(text.encode()) / _BYTES_PER_TOKEN))


def can_count(model: Model) -> bool:
    """Tell whether Wick has the tokenizer; blocks on the disk."""
    return model.remote is None and (model.folder / TOKENIZER_FILE).is_file()


async def count_tokens(model: Model, texts: Sequence[str]) -> list[int] | None:
    """Count the tokens of each text; None where that cannot be done."""
    if not await asyncio.to_thread(can_count, model):
        return None
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.models.text.token_count", str(model.folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            said, noise = await process.communicate(msgspec.json.encode(texts))
        return msgspec.json.decode(said, type=list[int])
    except TimeoutError:
        log.warning("Counting tokens for %s took too long.", model.name)
    except msgspec.MsgspecError:
        log.warning("Tokens for %s were not counted.", model.name)
        relay_noise(noise, "token count", log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return None


def main() -> int:
    from app.models.text.tokenizer import Tokenizer  # not for the server, which needs none

    log_to_parent()
    os.nice(5)
    texts = msgspec.json.decode(sys.stdin.buffer.read(), type=list[str])
    try:
        tokenizer = Tokenizer.load(Path(sys.argv[1]))
    except ModelFileError as error:
        print(error, file=sys.stderr)
        return 1
    counts = [len(tokenizer.encode(text)) for text in texts]
    sys.stdout.buffer.write(msgspec.json.encode(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
