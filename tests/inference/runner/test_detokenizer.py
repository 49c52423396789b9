from __future__ import annotations

import codecs
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from app.inference.runner.detokenizer import Detokenizer, TextChunk
from app.models.text.thinking import THINK, ThinkingParser

STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def read(pieces: list[bytes], stops: list[str] | None = None) -> str:
    text = Detokenizer(stops or [])
    parts = [text.feed(piece).answer for piece in pieces]
    passed = "".join([*parts, text.flush().answer])
    assert text.text == passed
    return passed


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.binary(max_size=40) | st.text().map(str.encode), st.lists(st.integers(0, 1000)))
@example("🦊".encode(), [1, 2, 3])
@example(b"\xf0\x9f\x8a", [1])
@example(b"\xe0\x80\x80 \xed\xa0\x80", [1, 2, 3, 4, 5])
def test_any_cut_of_any_bytes_reads_as_the_whole(data: bytes, places: list[int]) -> None:
    # Of a character that the end cuts nothing is read.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    whole = decoder.decode(data).replace("\0", "\ufffd")
    assert read(cut(data, places)) == whole


@given(st.text("abcd", max_size=30), STOPS, st.lists(st.integers(0, 1000)))
def test_stops_do_not_depend_on_how_the_bytes_are_cut(
    text: str, stops: list[str], places: list[int]
) -> None:
    letter_by_letter = read([letter.encode() for letter in text], stops)
    assert read(cut(text.encode(), places), stops) == letter_by_letter
    assert text.startswith(letter_by_letter)
    assert not any(stop in letter_by_letter for stop in stops)


def test_text_that_may_begin_a_stop_sequence_is_held_back() -> None:
    text = Detokenizer(["</end>"])
    assert text.feed(b"so </en").answer == "so "
    assert text.feed(b"tity> </").answer == "</entity> "
    assert text.feed(b"end> never seen").answer == ""
    assert text.stopped
    assert not text.feed(b"nor this")
    assert not text.flush()


def test_held_text_comes_out_at_the_end() -> None:
    text = Detokenizer(["STOP"])
    assert text.feed(b"a STO").answer == "a "
    assert text.flush().answer == "STO"
    assert not text.stopped


def test_nothing_comes_of_a_character_that_the_end_cuts() -> None:
    assert read(["né".encode()[:-1]]) == "n"
    assert read(["n🦊".encode()[:-1]], ["stop"]) == "n"
    assert read([b"n\xff", b"!"]) == "n\ufffd!"


def test_a_nul_character_is_replaced() -> None:
    assert read([b"a\0b"]) == "a\ufffdb"


def test_an_empty_stop_stops_nothing() -> None:
    assert read([b"text"], [""]) == "text"


def test_stops_count_in_the_answer_only() -> None:
    text = Detokenizer(["STOP"], ThinkingParser(THINK))
    assert text.feed(b"<think>STOP") == TextChunk(thought="STOP")
    assert text.is_thinking
    assert text.feed(b"</think>\n\nfour STOP five") == TextChunk(answer="four ")
    assert text.stopped
    assert (text.has_thought, text.text) == (True, "four ")
