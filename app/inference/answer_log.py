"""A line of the log for each answer that has ended: how, after what times and tokens."""

from __future__ import annotations

import logging
import time
from typing import Final

from app.inference.protocol import Failed, Finished
from app.inference.queue import Interrupted, Request, RequestEvent
from app.logs.lines import FACTS
from app.logs.request_ids import work_on
from app.logs.writer import ANSWERS

log = logging.getLogger(ANSWERS)
Facts = dict[str, str | int | float]


def log_answer(model: str, request: Request, event: RequestEvent) -> None:
    """Log an event that ends a request, as part of what asked for it; never its words."""
    facts: Facts
    match event:
        case Finished():
            facts = _tokens(event) | {"outcome": event.reason}
        case Interrupted():
            facts = {"outcome": "interrupted"}
            if event.finished is not None:
                facts |= _tokens(event.finished)
        case Failed():
            facts = {"outcome": "failed"}
        case _:
            return
    now: Final = time.monotonic()
    facts |= {"model": model, "answer": request.id, "user": request.user_id}
    if request.is_background:
        facts["is_background"] = True
    facts["seconds"] = round(now - request.submitted, 3)
    if request.begun_at is not None:
        facts["queue_seconds"] = round(request.begun_at - request.submitted, 3)
    if request.first_token_at is not None:
        facts["first_token_seconds"] = round(request.first_token_at - request.submitted, 3)
    with work_on(request.origin):
        log.info(
            "Answer %d of %s: %s after %.2f s",
            *(request.id, model, facts["outcome"], facts["seconds"]),
            extra={FACTS: facts},
        )


def _tokens(event: Finished) -> Facts:
    return {
        "prompt_tokens": event.prompt_tokens,
        "cached_tokens": event.cached_tokens,
        "completion_tokens": event.completion_tokens,
    }
