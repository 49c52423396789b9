"""What answers took, in tokens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.inference.protocol import Finished


class PromptDetails(msgspec.Struct):
    """cached_tokens: those of the prompt that were still in memory from an earlier request."""

    cached_tokens: int


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


def usage_of(ends: Sequence[Finished], prompts: int = 1) -> Usage:
    """Of answers to one prompt, which counts once, or to several.

    The answers to a prompt were read from the same memory: the least that one of them found there
    is what had been kept.
    """
    read = sum(end.prompt_tokens for end in ends) // max(1, len(ends)) * prompts
    cached = min((end.cached_tokens for end in ends), default=0) * prompts
    written = sum(end.completion_tokens for end in ends)
    return Usage(read, written, read + written, PromptDetails(cached))
