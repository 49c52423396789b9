"""Objects of messages: stored, and while they are being written."""

from __future__ import annotations

import msgspec

from app.api.chats.schemas import MessageObject, message_object
from app.conversations.answer_state import LiveAnswer
from app.db.messages import Message

CHAT = "0123456789abcdef"
ANSWER = Message(
    id=2,
    chat_id=CHAT,
    parent_id=1,
    role="assistant",
    text="Four.",
    status="done",
    client_id="abcdefgh",
    model="m",
    error=None,
    created_at=1.0,
    finished_at=2.0,
    settings="{}",
    thought="Two and two.",
    thought_seconds=1.5,
)


def test_a_stored_answer_has_its_thought() -> None:
    values = msgspec.to_builtins(message_object(ANSWER, None))
    assert (values["thought"], values["thought_seconds"]) == ("Two and two.", 1.5)
    assert (values["text"], values["status"], values["object"]) == ("Four.", "done", "message")
    assert (values["place"], values["seconds"]) == (None, None)
    assert not {"client_id", "settings", "is_imported"} & values.keys()


def test_a_running_answer_has_its_thought_so_far() -> None:
    stream = LiveAnswer(2, CHAT, 1, "m", status="streaming")
    stream.thought, stream.thought_seconds = "Two and", 0.5
    values = msgspec.to_builtins(message_object(ANSWER, stream))
    assert (values["thought"], values["thought_seconds"]) == ("Two and", 0.5)
    assert (values["text"], values["status"]) == ("", "streaming")


def test_a_running_answer_without_a_thought() -> None:
    values = msgspec.to_builtins(message_object(ANSWER, LiveAnswer(2, CHAT, 1, "m")))
    assert (values["thought"], values["thought_seconds"]) == (None, None)


def test_a_message_object_matches_its_schema() -> None:
    made = message_object(ANSWER, None)
    assert msgspec.json.decode(msgspec.json.encode(made), type=MessageObject) == made
