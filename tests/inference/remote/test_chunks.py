"""What servers say, in any pieces and of any shape: it is understood, or it is garbage."""

from __future__ import annotations

import datetime as dt
import json
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.remote.chunks import (
    MAX_EVENT_BYTES,
    CallJoiner,
    Chunk,
    ErrorChunk,
    ProtocolViolation,
    SseParser,
    parse_chunk,
)
from app.inference.remote.errors import Timeouts, from_response, from_transport_error, retry_after
from app.inference.remote.request import TokenEstimator
from app.models.model import Turn
from app.models.upstream import Upstream

GPU = Upstream("http://gpu:8000/v1", "m")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("choices", "usage", "error", "delta", "content", "text", "logprobs", "prompt_progress"),
        *("tool_calls", "function_call", "function", "arguments", "name", "index", "id"),
    ]
)


def read(data: bytes, cuts: list[int]) -> list[str]:
    events, found, start = SseParser(), list[str](), 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += events.feed(data[start:cut])
        start = cut
    return found


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_events_are_the_same_however_the_bytes_are_cut(
    texts: list[str], end: str, cuts: list[int]
) -> None:
    lines = [f"data: {text}{end}: a comment{end}event: x{end}{end}" for text in texts]
    assert read("".join(lines).encode(), cuts) == texts


def test_lines_of_an_event_are_joined_and_half_an_event_is_none() -> None:
    assert read(b"data:a\ndata: b\n\ndata: lost", []) == ["a\nb"]
    assert read(b"data: lost\n", []) == []


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: " + b"x" * 60000 + b"\n"])
def test_an_event_without_end_violates_the_protocol(piece: bytes) -> None:
    endless = piece * (MAX_EVENT_BYTES // len(piece) + 2)
    with pytest.raises(ProtocolViolation):
        read(endless, list(range(0, len(endless), 65536)))


@given(
    st.dictionaries(FIELDS, JSON | st.lists(st.dictionaries(FIELDS, JSON), max_size=2), max_size=4)
)
def test_any_json_is_a_chunk_or_a_violation(chunk: dict[str, object]) -> None:
    try:
        piece = parse_chunk(json.dumps(chunk))
        CallJoiner().add(piece.calls)
    except (ProtocolViolation, ErrorChunk):
        return
    assert isinstance(piece, Chunk)
    piece.text.encode()


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("-3", 0, 0),
        ("1e99", 3600, 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_the_pause_of_retry_after_is_read(text: str, low: float, high: float) -> None:
    seconds = retry_after(text)
    assert seconds is not None
    assert low <= seconds <= high


def test_a_retry_after_with_a_date_is_a_pause() -> None:
    then = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=900)
    seconds = retry_after(format_datetime(then, usegmt=True))
    assert seconds is not None
    assert 600 < seconds <= 900


@pytest.mark.parametrize("text", [None, "", "soon", "nan", "Wed, 99 Oct"])
def test_a_malformed_retry_after_is_no_pause(text: str | None) -> None:
    assert retry_after(text) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectTimeout(""), "gpu:8000 has not taken a call within 5 seconds."),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "reach gpu:8000: Name"),
        (httpx.ReadError(""), "gpu:8000 broke off."),
    ],
)
def test_a_failed_call_is_a_sentence(error: httpx.HTTPError, words: str) -> None:
    fault = from_transport_error(GPU, error, Timeouts())
    assert fault.kind == "down"
    assert words in str(fault)


def test_the_public_sentence_leaves_out_a_servers_words() -> None:
    body = b'{"error": {"message": "invalid input: my secret"}}'
    fault = from_response(GPU, httpx.Response(500), body)
    assert "my secret" in str(fault)
    assert fault.public == "gpu:8000 failed with status 500."


def test_estimates_of_tokens_learn_from_real_counts() -> None:
    sizes = TokenEstimator()
    turns = [Turn("user", "word " * 400)]
    first = sizes.tokens(turns)
    assert 400 <= first <= 800
    for _ in range(20):
        sizes.learn(turns, 401)
    assert 395 <= sizes.tokens(turns) < first
    sizes.reset_to(turns, 1200)
    assert 1195 <= sizes.tokens(turns) <= 1205
    assert sizes.tokens([Turn("user", "\u4f60\u597d" * 100)]) > 200
