"""Calls of tools in answers, as the page shows them: each a line that unfolds."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from app.conversations.tool_calls import (
    DENIED,
    CallRecord,
    arguments_as_text,
    gist,
    steps_of,
)
from app.web.render.markdown import render_markdown

ABOUT: Final = {
    "asking": "asks to run",
    "running": "is running",
    "failed": "failed",
    "denied": "did not run",
}


@dataclass(frozen=True, slots=True)
class CallView:
    """One call. number: in its answer; about: how it stands, in few words; arguments: by their
    names, as text; gist: their values in one line."""

    number: int
    title: str
    status: str
    about: str
    arguments: tuple[tuple[str, str], ...]
    result: str
    gist: str


@dataclass(frozen=True, slots=True)
class Step:
    """Text of an answer before it calls tools, and these calls."""

    body: Markup
    calls: tuple[CallView, ...]


@functools.lru_cache(maxsize=256)
def steps(message_id: int, text: str, calls: tuple[CallRecord, ...]) -> tuple[Step, ...]:
    """Return all that stands before the end of an answer."""
    found, at, number = list[Step](), 0, 0
    for group in steps_of(calls):
        end = group[0].text_place
        views = tuple(_view(number + n, call) for n, call in enumerate(group))
        found.append(Step(render_markdown(text[at:end], message_id), views))
        at, number = end, number + len(group)
    return tuple(found)


def _view(number: int, call: CallRecord) -> CallView:
    about = ABOUT.get(call.status) or describe_time(call.seconds)
    result = call.result or (DENIED if call.status == "denied" else "")
    title = call.title or call.name or "A tool"
    arguments = arguments_as_text(call.arguments)
    return CallView(number, title, call.status, about, arguments, result, gist(call.arguments))


def describe_time(seconds: float | None) -> str:
    """Say how long a call took, when somebody may have noticed."""
    return f"{seconds:.1f} s" if seconds is not None and seconds >= 0.05 else "done"


def plain_lines(calls: Sequence[CallRecord]) -> list[str]:
    """Return one line for each call, as plain text."""
    views = [_view(number, call) for number, call in enumerate(calls)]
    return [f"{view.title} ({view.about})" for view in views]
