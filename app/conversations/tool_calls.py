"""Calls of tools in an answer: how each stands, as it is stored, and as turns for a model."""

from __future__ import annotations

import functools
import itertools
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from app.inference.protocol import to_storable
from app.models.model import Turn
from app.models.text.tools import ToolCall, ToolCallDelta

CallStatus = Literal["asking", "running", "done", "failed", "denied"]
Decision = Literal["allow", "always", "deny"]
MAX_CALLS: Final = 24
"""Calls that one answer may make."""
MAX_CALLS_PER_STEP: Final = 8
"""Calls that a model may make before it reads their results."""
MAX_ARGUMENTS_CHARS: Final = 20_000
MAX_RESULT_CHARS: Final = 24_000
MAX_NAME_CHARS: Final = 128
GIST_CHARS: Final = 100
MAX_GIST_SOURCE_CHARS: Final = 1_000
"""Of arguments that a gist is made of, with all their space."""
DENIED: Final = "The user did not allow this call."
STOPPED: Final = "The user stopped the answer before this call had a result."
CUT: Final = "The answer reached its length limit while this call was written."
ENDED: Final = "Wick ended while this call ran, so it has no result."


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call of an answer. title: the tool's name for people; arguments: a JSON object as text;
    result: what it gave, or what went wrong, in words for the model; seconds: that it ran; step:
    calls of one step were written together; text_place, thought_place: characters of the answer,
    and of its thought, that stand before it."""

    id: str
    name: str
    title: str = ""
    arguments: str = "{}"
    status: CallStatus
    result: str = ""
    seconds: float | None = None
    step: int = 0
    text_place: int = 0
    thought_place: int = 0

    @property
    def is_open(self) -> bool:
        """Tell whether it has no result yet."""
        return self.status in {"asking", "running"}

    def ended(self, status: CallStatus, result: str, seconds: float | None = None) -> CallRecord:
        """Return it with its result, cut to what a model can be given."""
        return msgspec.structs.replace(
            self, status=status, result=cut_result(result), seconds=seconds
        )

    def with_status(self, status: CallStatus) -> CallRecord:
        return msgspec.structs.replace(self, status=status)


def cut_result(text: str) -> str:
    """Make a result fit for keeping, and say so where it is cut."""
    if len(text) <= MAX_RESULT_CHARS:
        return to_storable(text)
    note = f"\n[Cut here: these are the first {MAX_RESULT_CHARS:,} of {len(text):,} characters.]"
    return to_storable(text[:MAX_RESULT_CHARS]) + note


def parse_arguments(text: str) -> dict[str, Any] | None:
    """Read the arguments of a call; None when they are no JSON object."""
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def arguments_as_text(arguments: str) -> tuple[tuple[str, str], ...]:
    """Return the arguments of a call by their names, as text for people."""
    values = parse_arguments(arguments)
    if values is None:
        return (("", arguments),)
    return tuple(
        (name, one if isinstance(one, str) else json.dumps(one, ensure_ascii=False, indent=1))
        for name, one in values.items()
    )


def gist(arguments: str) -> str:
    """Return the values of a call's arguments as one short line."""
    values = " ".join(value for _, value in arguments_as_text(arguments))
    text = " ".join(values[:MAX_GIST_SOURCE_CHARS].split())
    return f"{text[: GIST_CHARS - 1]}…" if len(text) > GIST_CHARS else text


def encode_calls(calls: Iterable[CallRecord]) -> str | None:
    """Return the text to store; None for no calls."""
    found = list(calls)
    return msgspec.json.encode(found).decode() if found else None


@functools.lru_cache(maxsize=256)
def parse_calls(text: str | None) -> tuple[CallRecord, ...]:
    """Read what is stored; what cannot be read counts as no calls."""
    if not text:
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[CallRecord, ...])
    except (msgspec.MsgspecError, UnicodeError):
        return ()


def sanitize_calls(values: Any) -> tuple[CallRecord, ...]:
    """Keep those calls of somebody else's file that could have been made here; none runs."""
    kept = list[CallRecord]()
    for value in values[:MAX_CALLS] if isinstance(values, list) else ():
        try:
            call = msgspec.convert(value, CallRecord)
        except msgspec.MsgspecError:
            continue
        if len(call.name) > MAX_NAME_CHARS or len(call.arguments) > MAX_ARGUMENTS_CHARS:
            continue
        status: CallStatus = "denied" if call.is_open else call.status
        kept.append(
            msgspec.structs.replace(
                call.ended(status, call.result, call.seconds),
                id=to_storable(call.id)[:MAX_NAME_CHARS],
                title=to_storable(call.title)[:MAX_NAME_CHARS],
            )
        )
    kept.sort(key=lambda call: (call.step, call.text_place))
    return tuple(kept)


# Calls as a model writes them, piece by piece.


@dataclass(slots=True)
class _Draft:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    characters: int = 0


@dataclass(slots=True)
class CallDrafts:
    """Gathers the calls of one step. What is too long or too much is left out, but counted."""

    drafts: dict[int, _Draft] = field(default_factory=dict)

    def add(self, deltas: Iterable[ToolCallDelta]) -> None:
        for delta in deltas:
            if delta.index not in self.drafts and len(self.drafts) >= MAX_CALLS_PER_STEP:
                continue
            draft = self.drafts.setdefault(delta.index, _Draft())
            draft.id = draft.id or delta.id[:MAX_NAME_CHARS]
            draft.name = draft.name or delta.name[:MAX_NAME_CHARS]
            draft.characters += len(delta.arguments)
            if draft.characters <= MAX_ARGUMENTS_CHARS:
                draft.arguments.append(delta.arguments)

    def take(self, step: int, text_place: int, thought_place: int) -> list[CallRecord]:
        """Return the calls, which wait to be allowed, and begin anew."""
        drafts, self.drafts = self.drafts, {}
        return [
            _record(draft, step, text_place, thought_place) for _, draft in sorted(drafts.items())
        ]


def _record(draft: _Draft, step: int, text_place: int, thought_place: int) -> CallRecord:
    call = CallRecord(
        id=to_storable(draft.id) or f"call{secrets.token_hex(4)}",
        name=to_storable(draft.name),
        arguments=to_storable("".join(draft.arguments)) or "{}",
        status="asking",
        step=step,
        text_place=text_place,
        thought_place=thought_place,
    )
    if draft.characters > MAX_ARGUMENTS_CHARS:
        call = msgspec.structs.replace(call, arguments="{}")
        return call.ended("failed", f"Give at most {MAX_ARGUMENTS_CHARS:,} characters.")
    return call


# An answer with calls as its model reads it again.


def end_of(calls: Sequence[CallRecord]) -> tuple[int, int]:
    """Return how many characters of the text, and of the thought, stand before the last call."""
    return (calls[-1].text_place, calls[-1].thought_place) if calls else (0, 0)


def steps_of(calls: Sequence[CallRecord]) -> list[list[CallRecord]]:
    """Group calls that were written together."""
    return [list(group) for _, group in itertools.groupby(calls, lambda call: call.step)]


def call_turns(text: str, thought: str, calls: Sequence[CallRecord]) -> list[Turn]:
    """Return the turns up to the last result: what was written before each step, its calls, and
    their results. What follows the last one is left to the caller."""
    turns, at, thought_at = list[Turn](), 0, 0
    for step in steps_of(calls):
        written = text[at : step[0].text_place].strip()
        reasoned = thought[thought_at : step[0].thought_place].strip()
        made = tuple(ToolCall(call.id, call.name, call.arguments) for call in step)
        turns.append(Turn("assistant", written, reasoned, calls=made))
        turns += [
            Turn("tool", _result_text(call), call_id=call.id, tool=call.name) for call in step
        ]
        at, thought_at = end_of(step)
    return turns


def call_list(calls: Sequence[CallRecord]) -> str:
    """Describe calls in Markdown, one a line: their tools, and what these were given."""
    lines = []
    for call in calls:
        arguments = " ".join(call.arguments.split()).replace("`", "'")[:200]
        lines.append(f"- Tool {call.title or call.name}: `{arguments}` ({call.status})")
    return "\n".join(lines)


def _result_text(call: CallRecord) -> str:
    match call.status:
        case "denied":
            return call.result or DENIED
        case "asking" | "running":
            return STOPPED
        case "failed":
            return f"Error: {call.result}"
        case "done":
            return call.result
