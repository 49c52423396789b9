"""Tokens as words with times."""

from __future__ import annotations

from app.media.child.word_times import split_words, timed_words, token_starts
from app.media.protocol import Segment, SpokenWord


class Bytes:
    """Tokens that are pieces of UTF-8."""

    def __init__(self, *tokens: bytes) -> None:
        self.ids = list(range(len(tokens)))
        self._tokens = tokens

    def decode(self, ids: list[int]) -> str:
        return b"".join(self._tokens[number] for number in ids).decode("utf-8", "replace")


def test_each_token_begins_where_it_was_looked_at_first() -> None:
    path = [(0, 0), (0, 1), (0, 2), (1, 3), (3, 5), (3, 9), (4, 20)]
    assert token_starts(path, 4) == [0.0, 0.06, 0.1, 0.1, 0.4]
    assert token_starts(path[:-1], 4)[-1] == 0.18  # nothing was looked at after it
    assert token_starts([], 1) == [0.0, 0.0]


def test_words_begin_at_spaces_and_keep_their_signs() -> None:
    said = Bytes(
        b" The", b" sto", b"ry", b",", b" \xe2\x80", b"\x94", b" caf", b"\xc3", b"\xa9", b"."
    )
    assert split_words(said.ids, said.decode, "en") == [
        (0, 1, " The"),
        (1, 6, " story, —"),
        (6, 10, " café."),
    ]


def test_without_spaces_each_character_is_one() -> None:
    said = Bytes("你".encode(), "好".encode()[:2], "好".encode()[2:], "。".encode())
    assert [text for *_, text in split_words(said.ids, said.decode, "zh")] == ["你", "好。"]


def test_words_have_times_that_move_with_their_segment() -> None:
    said = Bytes(b" To", b"day", b" we")
    words = timed_words(said.ids, [0.5, 0.7, 0.9, 1.1], said.decode, "en")
    assert words == (SpokenWord(0.5, 0.9, "Today"), SpokenWord(0.9, 1.1, "we"))
    moved = Segment(0.5, 1.1, " Today we", words=words).moved(30)
    assert (moved.start, moved.end) == (30.5, 31.1)
    assert moved.words[1] == SpokenWord(30.9, 31.1, "we")
