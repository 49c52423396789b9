"""How far a pull or an import is, on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.models.progress import PullProgress

Report = Callable[[PullProgress], None]
PLAIN_STEP = 10
"""Percent between two lines of progress where there is no terminal."""


@contextmanager
def shown_progress() -> Iterator[Report]:
    """A moving bar on a terminal; elsewhere a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
        tasks = {}

        def report(progress: PullProgress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task("")
            bar.update(
                tasks[progress.stage],
                description=_capital(progress.sentence),
                completed=progress.done,
                total=progress.total or None,
            )

        yield report


def _plain_lines(console: Console) -> Report:
    told: dict[str, int] = {}

    def report(progress: PullProgress) -> None:
        percent = 100 * progress.done // progress.total if progress.total else 0
        if progress.stage not in told or percent >= told[progress.stage] + PLAIN_STEP:
            told[progress.stage] = percent - percent % PLAIN_STEP
            line = f"{percent:3} %  {_capital(progress.sentence)}"
            console.print(line, highlight=False, soft_wrap=True)

    return report


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
