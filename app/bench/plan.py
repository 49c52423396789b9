"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

SHORT = 16
"""Tokens of an answer of which only the beginning counts."""


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """concurrency: answers at once, 1 included; prompt, tokens: length of a long prompt and of an
    answer, in tokens; others: chats between leaving a chat and coming back; turns: of the answers
    at once, within a round; rounds: of all of it.
    """

    concurrency: tuple[int, ...] = (1, 2, 4, 8)
    prompt: int = 1536
    tokens: int = 128
    others: int = 12
    turns: int = 3
    rounds: int = 1

    @property
    def longest_chat(self) -> int:
        """Tokens that the longest chat may come to: four turns and room for one more answer."""
        turns = 4
        return self.prompt + turns * (SHORT + 32) + self.tokens
