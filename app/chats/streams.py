"""A stream: the live state of one answer, from its submission until it is saved."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

LiveStatus = Literal["queued", "loading", "prefill", "streaming"]


@dataclass(slots=True)
class LiveAnswer:
    """What everybody who looks at this answer may see. `text` only grows.

    place: position in the queue, 1 is next, in about `eta_seconds` if that is known, 0 is its turn;
    held: it waits for the answer before it in its chat and may be taken back; prompt_done of
    prompt_total tokens are read; dropped: how many of the oldest messages the model does not see;
    trouble: something the person should know while it goes on; epoch: tells it from every other
    stream, also of the same answer.
    """

    message_id: int
    chat_id: str
    user_id: int
    model: str
    status: LiveStatus = "queued"
    text: str = ""
    position: int = 0
    eta_seconds: float | None = None
    is_pending: bool = False
    detail: str = ""
    prompt_done: int = 0
    prompt_total: int = 0
    dropped: int = 0
    warning: str = ""
    epoch: str = field(default_factory=lambda: secrets.token_hex(4))


def status_line(stream: LiveAnswer) -> str:
    """What is happening to an answer that runs, in words."""
    if stream.warning:
        return stream.warning
    match stream.status:
        case "queued" if stream.is_pending:
            return "Waiting for the answer above"
        case "queued" if not stream.position:
            return "Starting"
        case "queued":
            place = "next" if stream.position == 1 else f"number {stream.position}"
            return f"Waiting: {place} in line{_format_eta(stream.eta_seconds)}"
        case "loading":
            return stream.detail
        case "prefill":
            percent = 100 * stream.prompt_done // max(stream.prompt_total, 1)
            return f"Reading the conversation: {percent} %"
        case "streaming":
            return "Writing"


def _format_eta(seconds: float | None) -> str:
    """An estimate as people say it: no more exact than it is."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f", about {max(1, round(seconds))} s"
    if seconds < 90:
        return f", about {5 * round(seconds / 5)} s"
    return f", about {round(seconds / 60)} min"
