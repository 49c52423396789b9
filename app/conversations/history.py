"""A chat's history as a model sees it: turns, siblings, and how full the context is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from app.conversations.attachments import with_files
from app.conversations.settings import parse_generation_settings
from app.conversations.tool_calls import call_turns, end_of, parse_calls
from app.db.messages import Message
from app.models.model import Turn, TurnImage, join_turns

# What stands beside a message: other wordings of a prompt, other answers to one.


@dataclass(frozen=True, slots=True)
class Siblings:
    """A message's place among those beside it, itself included, oldest first.

    number: from 1 to `count`; before, after: the ids of its neighbours; newest: the id of the last.
    """

    number: int
    count: int
    before: int | None
    after: int | None
    newest: int


@dataclass(frozen=True, slots=True)
class SiblingIndex:
    """Messages of a chat that have siblings, by the id of their parent."""

    by_parent: Mapping[int | None, Sequence[int]]

    def of(self, message: Message) -> Siblings:
        ids = self.by_parent.get(message.parent_id, ())
        if message.id not in ids:
            return Siblings(1, 1, None, None, message.id)
        at = ids.index(message.id)
        return Siblings(
            number=at + 1,
            count=len(ids),
            before=ids[at - 1] if at else None,
            after=ids[at + 1] if at + 1 < len(ids) else None,
            newest=ids[-1],
        )


# From stored messages to the turns that a model is to see.


def to_turns(
    path: Sequence[Message],
    texts: Mapping[int, str] | None = None,
    images: Mapping[int, TurnImage] | None = None,
    *,
    lines: Mapping[int, str] | None = None,
    passages: Mapping[int, str] | None = None,
) -> tuple[Turn, ...]:
    """Oldest first; texts: the content of attached files, by their ids; images: pictures that the
    model is shown, instead of the text in them; lines: what stands for files that are searched;
    passages: of those, before the questions with these ids.

    An answer without text is left out, and questions that then follow each other become one,
    because many chat templates insist that roles alternate. A question whose answer failed goes
    too: what no model could read once must not spoil what comes after it. An answer that had an
    instruction of its own keeps it at the end of its question, as its model saw it."""
    turns: list[Turn] = []
    for message in without_failed(path):
        if not message.is_said:
            continue
        shown = {f.id: images[f.id] for f in message.attachments if images and f.id in images}
        others = [file for file in message.attachments if file.id not in shown]
        asked = "\n\n".join(filter(None, [(passages or {}).get(message.id), message.text]))
        stays = any(not f.is_media and f.id not in (lines or {}) for f in others)
        if instruction := instruction_of(message):
            turns = instruct(turns, instruction)
        for turn in _turns_of(message, with_files(asked, others, texts or {}, lines)):
            whole = replace(turn, images=tuple(shown.values()), stays=stays)
            if turns and _may_join(turns[-1], whole):
                whole = join_turns(turns.pop(), whole)
            turns.append(whole)
    return tuple(turns)


def _turns_of(message: Message, text: str) -> list[Turn]:
    """The turns of one message: several where an answer has called tools."""
    thought = message.thought or ""
    calls = parse_calls(message.calls) if message.role == "assistant" else ()
    if not calls:
        return [Turn(message.role, text, thought)]
    turns = call_turns(text, thought, calls)
    text_place, thought_place = end_of(calls)
    if rest := text[text_place:].strip():
        turns.append(Turn("assistant", rest, thought[thought_place:].strip()))
    return turns


def _may_join(first: Turn, second: Turn) -> bool:
    """Tell whether two turns in a row become one. Calls stay beside their results."""
    if first.calls or second.calls or "tool" in {first.role, second.role}:
        return False
    return first.role == second.role


def instruction_of(message: Message) -> str:
    """Return what an answer was asked for beside its prompt, mostly nothing."""
    if '"instruction": "' not in (message.settings or "") or message.role != "assistant":
        return ""
    made_with = parse_generation_settings(message.settings)
    return made_with.instruction if made_with else ""


def instruct(turns: Sequence[Turn], instruction: str) -> list[Turn]:
    """Add an instruction to the end of the last turn, when that is a question."""
    if not instruction or not turns or turns[-1].role != "user":
        return [*turns]
    return [*turns[:-1], replace(turns[-1], content=f"{turns[-1].content}\n\n{instruction}")]


def without_failed(path: Sequence[Message]) -> list[Message]:
    """The path without questions whose answers failed before they had any text."""
    failed = {m.parent_id for m in path if m.status == "failed" and not m.text}
    return [m for m in path if m.id not in failed]


def first_in_context(path: Sequence[Message], dropped: int) -> int | None:
    """The id of the first message that the model still sees, when it does not see all of them.

    `dropped` counts turns as `to_turns(path)` makes them.
    """
    if not dropped:
        return None
    count, last = 0, None
    for message in without_failed(path):
        for turn in _turns_of(message, message.text) if message.is_said else ():
            count += last is None or not _may_join(last, turn)
            last = turn
        if count > dropped:
            return message.id
    return None


# How full the model's window is, and what leaves it first.


@dataclass(frozen=True, slots=True)
class ContextUsage:
    """Usage after the last answer of a path. used of `size` tokens; dropped: messages the model
    no longer sees; next_to_drop: the question that leaves first when there is no room for more,
    with its answers, or None when only the newest is left.
    """

    used: int
    size: int
    dropped: int
    next_to_drop: Message | None

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.size))


def context_usage(path: Sequence[Message]) -> ContextUsage | None:
    """None until an answer on this path has ended and was measured."""
    for place in range(len(path) - 1, -1, -1):
        answer = path[place]
        is_answer = answer.role == "assistant" and answer.status != "queued"
        if is_answer and answer.context_length and answer.prompt_tokens:
            return _measured(path[: place + 1], answer, answer.context_length)
    return None


def _measured(path: Sequence[Message], answer: Message, size: int) -> ContextUsage:
    top = first_in_context(path[:-1], answer.dropped)
    begin = next((i for i, message in enumerate(path) if message.id == top), 0)
    questions = [m for m in without_failed(path[begin:]) if m.role == "user"]
    leaving = [m for m in questions[:-1] if all(file.is_media for file in m.attachments)]
    return ContextUsage(
        used=(answer.prompt_tokens or 0) + (answer.completion_tokens or 0),
        size=size,
        dropped=begin,
        next_to_drop=next(iter(leaving or questions[:-1]), None),
    )
