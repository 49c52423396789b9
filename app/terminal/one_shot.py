"""One question and its answer: for scripts, pipes and people in a hurry."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from app.conversations.refs import AnswerRef
from app.terminal.answer_display import show
from app.terminal.backend import (
    Backend,
    MessageRecord,
    answer_stats,
    dropped_note,
    ending_note,
    to_dict,
)
from app.terminal.markdown import strip_control
from app.terminal.screen import PlainScreen, Screen, TerminalScreen


@dataclass(frozen=True, slots=True)
class OneShot:
    """`form`: as text, as one JSON object at the end, or as a line of JSON for every step."""

    backend: Backend
    form: str
    is_kept: bool

    async def show(self, asked: AnswerRef) -> int:
        """The exit code."""
        answer = await show(self.backend, asked, self._screen())
        self._tell(asked.chat_id, answer)
        if answer.status == "stopped":
            return 130
        return 0 if answer.status == "done" else 1

    def _screen(self) -> Screen:
        if self.form == "json":
            return NullScreen()
        if self.form == "lines":
            return JsonLinesScreen()
        console = Console()
        notes = Console(stderr=True, style="dim")
        if console.is_terminal and not console.no_color and not console.is_dumb_terminal:
            return TerminalScreen(console)
        return PlainScreen(sys.stdout, notes if notes.is_terminal else None)

    def _tell(self, chat_id: str, answer: MessageRecord) -> None:
        if self.form != "text":
            kept = to_dict(chat_id if self.is_kept else None, answer)
            write_json({"type": "end", **kept} if self.form == "lines" else kept)
        notes = Console(stderr=True)
        if answer.status != "done":
            notes.print(
                f"wick: {strip_control(ending_note(answer))}", markup=False, highlight=False
            )
        elif self.form == "text" and notes.is_terminal and sys.stdout.isatty():
            for line in (ending_note(answer), dropped_note(answer), answer_stats(answer)):
                if line:
                    notes.print(strip_control(line), style="dim", markup=False, highlight=False)


class NullScreen:
    """Says nothing: the end has everything."""

    def show_status(self, sentence: str) -> None:
        pass

    def text(self, piece: str) -> None:
        pass

    def tick(self) -> float | None:
        return None

    def end(self) -> None:
        pass


class JsonLinesScreen(NullScreen):
    """A line of JSON for every step."""

    def show_status(self, sentence: str) -> None:
        if sentence:
            write_json({"type": "waiting", "text": sentence})

    def text(self, piece: str) -> None:
        write_json({"type": "text", "text": piece})


def write_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)
