"""Tokenizes prompts and texts of a model that need not be loaded: one JSON object in, one out.

`python -m app.inference.runner.tokenization FOLDER < JOB`. Loading a vocabulary and tokenizing a
long text hold the interpreter, so that is a process of its own, which ends when it has done so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from app.errors import ModelFileError, WickError
from app.inference.protocol import Generate, from_line
from app.inference.runner.kv.cache import KvCache
from app.inference.runner.prompt import PromptBuilder
from app.inference.runner.token_memory import StableTokenizer
from app.logs.child import log_to_parent
from app.models.model_files import load_model
from app.models.text.builtin_templates import template_of
from app.models.text.chat_template import ChatTemplate
from app.models.text.tokenization_job import TokenizationJob, TokenizationResult

UNLIMITED_WINDOW: Final = 1 << 30


def run_job(folder: Path, job: TokenizationJob) -> TokenizationResult:
    """Do one job. Raises WickError."""
    tokenizer = StableTokenizer.load(folder)
    if job.command is not None:
        command = cast(Generate, from_line(job.command.encode()))
        ids = _builder(folder, tokenizer).build(command).tokens
        return TokenizationResult(ids=ids, text=tokenizer.marked_text(ids))
    if job.ids is not None:
        known = [token for token in job.ids if 0 <= token < tokenizer.vocab_size]
        if len(known) < len(job.ids):
            last = tokenizer.vocab_size - 1
            return TokenizationResult(error=f"Token ids of this model are 0 to {last}.", status=400)
        return TokenizationResult(text=tokenizer.marked_text(known))
    ids = _tokenize(tokenizer, job)
    pieces = [
        tokenizer.special_text(token).encode()
        if token in tokenizer.special_ids
        else tokenizer.token_bytes(token)
        for token in ids
    ]
    return TokenizationResult(ids=ids, pieces=pieces)


def _tokenize(tokenizer: StableTokenizer, job: TokenizationJob) -> list[int]:
    text = job.text or ""
    parts = tokenizer.split_special_tokens(text) if job.parses_special else [text]
    ids: list[int] = []
    for place, part in enumerate(parts):
        if isinstance(part, int):
            ids.append(part)
        else:
            ids += tokenizer.encode_continuation(part) if place else tokenizer.encode(part)
    begins = job.adds_special and tokenizer.adds_bos and tokenizer.bos_id is not None
    if begins and tokenizer.bos_id is not None and ids[:1] != [tokenizer.bos_id]:
        return [tokenizer.bos_id, *ids]
    return ids


def _builder(folder: Path, tokenizer: StableTokenizer) -> PromptBuilder:
    template = ChatTemplate(template_of(load_model(folder)), tokenizer)
    contexts = cast(KvCache, None)  # only a chat's prompt asks it for something
    return PromptBuilder(template, tokenizer, contexts, UNLIMITED_WINDOW)


def main() -> int:
    log_to_parent()
    os.nice(5)
    data: Any = sys.stdin.buffer.read()
    try:
        result = run_job(Path(sys.argv[1]), msgspec.json.decode(data, type=TokenizationJob))
    except ModelFileError as error:
        result = TokenizationResult(error=str(error), status=501)
    except WickError as error:
        result = TokenizationResult(error=str(error), status=400)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
