"""Prompts of the workload: texts that no cache has seen, of exact length."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from app.errors import WickError

_WORDS = """
river stone garden winter window letter bridge captain market forest engine silver morning
island teacher mountain lantern harbour kitchen painter village shadow copper thunder orchard
violin basket compass station feather marble cabin meadow pepper ribbon saddle tunnel velvet
walked carried opened forgot painted answered climbed borrowed measured waited gathered counted
slowly often never again beyond under between without almost toward quiet narrow heavy bright
early distant hollow golden careful broken because while although until where which somebody
seven twelve hundred several other first last every another across before after about through
"""
WORDS = _WORDS.split()
NOUNS = WORDS[:38]
FILLERS = (" so", " a", " the", ".", "!", " 7", "\n", ",")
FOLLOW_UP = "And what happened then?"


class PromptGenerator:
    """Generator of texts by number: the same seed and number, the same text.

    `count`: how many tokens the prompt of a new chat has that begins with a text.
    """

    def __init__(self, count: Callable[[str], int], seed: int) -> None:
        self._count = count
        self._seed = seed

    def question(self, number: int) -> str:
        """Make a short prompt whose answer is long."""
        first, second = random.Random(f"{self._seed} {number}").sample(NOUNS, 2)  # noqa: S311
        return f"Tell me a long story about a {first} and a {second}."

    def prompt(self, number: int, tokens: int) -> str:
        """Make a long text: the prompt of a chat that begins with it has `tokens` tokens.

        A few less where no text of these words gives it exactly. Raises WickError when the chat
        template alone is longer.
        """
        words = list(self._words(number, tokens))
        size = self._most(words, tokens)
        if size == 0:
            raise WickError(
                f"A prompt of {tokens} tokens is too short for this model: "
                f"its chat template alone takes about {self._count('x'):,}."
            )
        nearest = " ".join(words[:size])
        for fewer in range(size, max(0, size - 8), -1):
            text = self._fill(" ".join(words[:fewer]), tokens)
            if self._count(text) == tokens:
                return text
        return nearest

    def _words(self, number: int, count: int) -> Iterator[str]:
        source = random.Random(f"{self._seed} {number} words")  # noqa: S311 - no secret
        yield f"{source.randrange(10**6)}"  # different from the first token on
        for place in range(count):
            yield source.choice(WORDS) + ("." if place % 12 == 11 else "")

    def _most(self, words: list[str], tokens: int) -> int:
        """Number of words that fit."""
        low, high = 0, len(words)
        while low < high:
            middle = (low + high + 1) // 2
            if self._count(" ".join(words[:middle])) <= tokens:
                low = middle
            else:
                high = middle - 1
        return low

    def _fill(self, text: str, tokens: int) -> str:
        """Lengthen the text token by token, as far as it goes without becoming too long."""
        size = self._count(text)
        while size < tokens:
            longer = ((self._count(text + filler), filler) for filler in FILLERS)
            fitting = next(((n, f) for n, f in longer if size < n <= tokens), None)
            if fitting is None:
                break
            size, text = fitting[0], text + fitting[1]
        return text
