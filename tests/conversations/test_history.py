from __future__ import annotations

from dataclasses import replace

from app.conversations.history import context_usage
from app.db.messages import Message

ANSWER = Message(
    id=0,
    chat_id="0123456789abcdef",
    parent_id=None,
    role="assistant",
    text="uno",
    status="done",
    client_id=None,
    model="tiny",
    error=None,
    finish_reason="stop",
    prompt_tokens=60,
    cached_tokens=10,
    completion_tokens=20,
    prefill_seconds=1.0,
    decode_seconds=1.0,
    first_token_seconds=1.0,
    dropped=0,
    created_at=0.0,
    finished_at=1.0,
    context_length=200,
)


def chat(count: int, **last: object) -> list[Message]:
    """`count` questions with their answers; `last`: how the newest answer differs."""
    path: list[Message] = []
    for _ in range(count):
        size = len(path)
        question = replace(ANSWER, id=size + 1, role="user", parent_id=size or None)
        path += [question, replace(ANSWER, id=size + 2, parent_id=size + 1)]
    path[-1] = replace(path[-1], **last)  # type: ignore[arg-type]
    return path


def test_context_usage_is_unknown_before_the_first_answer() -> None:
    assert context_usage([]) is None
    assert context_usage(chat(1, status="queued")) is None
    assert context_usage(chat(1, context_length=None)) is None
    assert context_usage(chat(1, prompt_tokens=0)) is None


def test_context_usage_counts_the_tokens_of_the_last_answer() -> None:
    found = context_usage(chat(1))
    assert found is not None
    assert (found.used, found.size, found.percent, found.dropped) == (80, 200, 40, 0)
    assert found.next_to_drop is None  # the newest never leaves


def test_the_oldest_question_leaves_the_context_next() -> None:
    path = chat(3)
    found = context_usage(path)
    assert found is not None
    assert found.next_to_drop == path[0]


def test_dropped_messages_are_counted_once() -> None:
    path = chat(3, dropped=2, completion_tokens=900)
    found = context_usage(path)
    assert found is not None
    assert (found.dropped, found.next_to_drop, found.percent) == (2, path[2], 100)


def test_a_running_answer_leaves_the_context_usage_as_it_was() -> None:
    found = context_usage(chat(2, status="queued"))
    assert found is not None
    assert found.used == 80
