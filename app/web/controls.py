"""What may be done with a message of a chat, and what is known of an answer, for its foot."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from app.chats.answer_settings import parse_generation_settings
from app.chats.branches import is_resumable
from app.chats.siblings import SiblingIndex, Siblings
from app.store.messages import Message


@dataclass(frozen=True, slots=True)
class MessageActions:
    """parent: the same for all that stand beside each other; may_go_on: it was cut, and is the
    last; may_be_answered: a prompt that nothing follows."""

    parent: int
    siblings: Siblings
    can_continue: bool
    can_be_answered: bool


def message_actions(message: Message, forks: SiblingIndex, *, is_last: bool) -> MessageActions:
    return MessageActions(
        parent=message.parent_id or 0,
        siblings=forks.of(message),
        can_continue=is_last and is_resumable(message),
        can_be_answered=is_last and message.role == "user",
    )


def short_stats(message: Message) -> str:
    """The line that is always there."""
    tokens, seconds = message.completion_tokens, message.decode_seconds
    if not tokens:
        return ""
    speed = f" · {tokens / seconds:.0f}/s" if seconds else ""
    return f"{tokens:,} {'token' if tokens == 1 else 'tokens'}{speed}"


def answer_stats(message: Message) -> tuple[tuple[str, str], ...]:
    """All that was measured of an answer, in words, with what it was made."""
    tokens, seconds = message.completion_tokens, message.decode_seconds
    asked, cached = message.prompt_tokens, message.cached_tokens or 0
    if not tokens:
        return ()
    rows = [("Model", message.model or "")]
    speed = f", {tokens / seconds:.1f} a second" if seconds else ""
    rows.append(("Written", f"{tokens:,} tokens{speed}"))
    if message.first_token_seconds is not None:
        rows.append(("First word after", f"{message.first_token_seconds:.1f} s"))
    if asked:
        rows.append(("Read before", f"{asked:,} tokens, {cached:,} of them from memory"))
    if message.context_length:
        rows.append(("Could see at most", f"{message.context_length:,} tokens"))
    if (made_with := parse_generation_settings(message.settings)) is not None:
        sampling = made_with.sampling
        rows.append(("Temperature", f"{sampling.temperature:g}"))
        if sampling.seed is not None:
            rows.append(("Seed", f"{sampling.seed}"))
        if made_with.system_prompt:
            rows.append(
                ("System prompt", textwrap.shorten(made_with.system_prompt, 100, placeholder=" …"))
            )
    return tuple(rows)
