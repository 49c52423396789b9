"""What answers took, in tokens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.inference.protocol import Finished


class PromptDetails(msgspec.Struct):
    """cached_tokens: those of the prompt that were still in memory from an earlier request."""

    cached_tokens: int


class UsageObject(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


def usage_of(ends: Sequence[Finished], prompts: int = 1) -> UsageObject:
    """Of the same number of answers to each of so many prompts, in order. A prompt counts once.

    The answers to a prompt were read from the same memory: the least that one of them found there
    is what had been kept.
    """
    each = len(ends) // prompts
    alike = [ends[start : start + each] for start in range(0, len(ends), each)]
    read = sum(answers[0].prompt_tokens for answers in alike)
    cached = sum(min(answer.cached_tokens for answer in answers) for answers in alike)
    written = sum(end.completion_tokens for end in ends)
    return UsageObject(read, written, read + written, PromptDetails(cached))
