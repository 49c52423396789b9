"""Endings of answers: whether one may go on, and its description in words."""

from __future__ import annotations


def is_resumable(status: str, finish_reason: str | None, begun: str | None) -> bool:
    """Tell whether an answer ended before its end. `begun`: its text so far, or its thought."""
    if not (begun or "").rstrip("\ufffd"):
        return False
    return status in {"stopped", "interrupted", "failed"} or (
        status == "done" and finish_reason == "length"
    )


def describe_ending(
    status: str, finish_reason: str | None, error: str | None, *, only_thought: bool = False
) -> str:
    """Describe how an answer ended, when that needs a word. only_thought: it has no text."""
    while_thinking = " while thinking" if only_thought else ""
    match status:
        case "stopped":
            return f"Stopped{while_thinking}"
        case "failed":
            return error or "This answer failed."
        case "interrupted":
            return f"Interrupted: {error or 'Wick was stopped.'}"
        case "done" if finish_reason == "length":
            return f"Ended at the length limit{while_thinking}"
        case _:
            return ""


def describe_duration(seconds: int) -> str:
    """Describe whole seconds: 12 s, 2 min 5 s."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
