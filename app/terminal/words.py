"""How an answer stands and how it ended, in words and figures."""

from __future__ import annotations

from typing import Any

from app.chats.streams import LiveAnswer, status_line
from app.terminal.backend import MessageRecord


def describe_wait(stream: LiveAnswer) -> str:
    """What is happening; empty while the text that comes says enough."""
    is_writing = stream.status == "streaming" and not stream.warning
    return "" if is_writing else status_line(stream)


def describe_ending(answer: MessageRecord) -> str:
    """How it ended, when that needs a word."""
    match answer.status:
        case "stopped":
            return "Stopped"
        case "failed":
            return answer.error or "This answer failed."
        case "interrupted":
            return f"Interrupted: {answer.error or 'Wick was stopped.'}"
        case "done" if answer.finish_reason == "length":
            return "Ended at the length limit, /continue goes on"
        case _:
            return ""


def dropped_note(answer: MessageRecord) -> str:
    """What the model does not see any more."""
    if not answer.dropped:
        return ""
    what = "message has" if answer.dropped == 1 else f"{answer.dropped} messages have"
    return f"The oldest {what} left the model's window."


def answer_stats(answer: MessageRecord) -> str:
    """Say, `smollm2-135m · 42 tokens · 78.3 tok/s · first after 0.21 s`, and what was cached."""
    parts = [answer.model or ""]
    if answer.completion_tokens:
        plural = "s" if answer.completion_tokens != 1 else ""
        parts.append(f"{answer.completion_tokens:,} token{plural}")
    if answer.completion_tokens and answer.decode_seconds:
        parts.append(f"{answer.completion_tokens / answer.decode_seconds:.1f} tok/s")
    if answer.first_token_seconds is not None:
        parts.append(f"first after {answer.first_token_seconds:.2f} s")
    if answer.prompt_tokens:
        cached = answer.cached_tokens or 0
        parts.append(f"{cached:,} of {answer.prompt_tokens:,} cached")
    return " · ".join(part for part in parts if part)


def to_dict(chat_id: str | None, answer: MessageRecord) -> dict[str, Any]:
    """An answer as values for JSON. `chat`: None when it was not kept."""
    return {
        "chat": chat_id,
        "message": answer.id if chat_id is not None else None,
        "model": answer.model,
        "text": answer.text,
        "status": answer.status,
        "finish_reason": answer.finish_reason,
        "error": answer.error,
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "cached_tokens": answer.cached_tokens,
            "completion_tokens": answer.completion_tokens,
        },
        "dropped": answer.dropped,
        "seconds": {"first_token": answer.first_token_seconds, "writing": answer.decode_seconds},
    }
