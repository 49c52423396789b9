"""Words of what is said, and when: each begins where the decoder looked while it wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from app.media.protocol import SpokenWord

FRAME_SECONDS: Final = 0.02
"""Time of one step of what the encoder makes."""
WITHOUT_SPACES: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages in which a word has no beginning that can be seen; each character counts."""
UNFINISHED: Final = "\ufffd"


def token_starts(alignments: Iterable[tuple[int, int]], count: int) -> list[float]:
    """Find the second at which each of `count` tokens begins, and that at which the last ends.

    alignments: pairs of a token's index and a step's, in order; a token may have none.
    """
    firsts, last = dict[int, int](), 0
    for token, step in alignments:
        firsts.setdefault(token, step)
        last = step
    starts, next_one = list[int](), firsts.get(count, last)
    for token in range(count, -1, -1):
        next_one = min(next_one, firsts.get(token, next_one))
        starts.append(next_one)
    return [round(step * FRAME_SECONDS, 2) for step in reversed(starts)]


def split_words(
    ids: Sequence[int], decode: Callable[[list[int]], str], language: str
) -> list[tuple[int, int, str]]:
    """Split tokens at spaces: first token, one after the last, and text of each word.

    A character may take several tokens, so what ends within one goes on. Signs stay with the word
    before them.
    """
    found, first = list[tuple[int, int, str]](), 0
    for end in range(1, len(ids) + 1):
        text = decode(list(ids[first:end]))
        if text.endswith(UNFINISHED) and end < len(ids):
            continue
        begins = text.startswith(" ") or language in WITHOUT_SPACES
        if found and not (begins and any(map(str.isalnum, text))):
            before = found.pop()
            found.append((before[0], end, before[2] + text))
        else:
            found.append((first, end, text))
        first = end
    return found


def timed_words(
    ids: Sequence[int], starts: Sequence[float], decode: Callable[[list[int]], str], language: str
) -> tuple[SpokenWord, ...]:
    """Give each word its times. starts: of each token, and the end of the last."""
    return tuple(
        SpokenWord(starts[first], max(starts[first], starts[end]), text.strip())
        for first, end, text in split_words(ids, decode, language)
        if text.strip()
    )
