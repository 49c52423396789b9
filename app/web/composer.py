"""What the composer sends over the socket, of which nothing is trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping

from app.chats.prompts import Prompt
from app.errors import ChatError

INVALID_MESSAGE = "Wick did not understand this message. Reload the page, please."


def parse(data: str | bytes) -> dict[str, object]:
    """What a form sent. Raises ChatError when it is not that."""
    try:
        values = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: of an empty binary frame
        raise ChatError(INVALID_MESSAGE) from error
    if not isinstance(values, dict):
        raise ChatError(INVALID_MESSAGE)
    return values


def parse_prompt(values: Mapping[str, object], user_id: int, chat_id: str) -> Prompt:
    """The prompt in what the composer sent. Raises ChatError when there is none."""
    text, client_id, model = (values.get(name) for name in ("text", "client_id", "model"))
    if not isinstance(text, str) or not isinstance(client_id, str):
        raise ChatError(INVALID_MESSAGE)
    if not isinstance(model, str | None) or not 8 <= len(client_id) <= 64:
        raise ChatError(INVALID_MESSAGE)
    if not client_id.isalnum():
        raise ChatError(INVALID_MESSAGE)
    return Prompt(
        user_id=user_id, chat_id=chat_id, text=text, client_id=client_id, model=model or ""
    )
