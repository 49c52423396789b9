"""How far a pull, an import or a load is, on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.models.progress import PullProgress

ReportProgress = Callable[[PullProgress], None]
ShowLoad = Callable[[str, float | None], None]
"""Hears what a load is doing, in words, and how far it is from 0 to 1 where that is known."""
PLAIN_STEP = 10
"""Percent between two lines of progress where there is no terminal."""


@contextmanager
def progress_reporter() -> Iterator[ReportProgress]:
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
                description=_capital(progress.description),
                completed=progress.done,
                total=progress.total or None,
            )

        yield report


@contextmanager
def load_reporter() -> Iterator[ShowLoad]:
    """The same for the load of a model, whose steps the server tells."""
    console = Console(stderr=True)
    if not console.is_terminal:
        told: set[str] = set()

        def tell(line: str, done: float | None) -> None:
            step = line if done is None else line[: line.rindex(" ") - 1]  # without its last digit
            if step not in told:
                told.add(step)
                console.print(line, highlight=False, soft_wrap=True)

        yield tell
        return
    with Progress(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("")

        def show(line: str, done: float | None) -> None:
            bar.update(task, description=line, completed=done or 0, total=done and 1)

        yield show


def _plain_lines(console: Console) -> ReportProgress:
    told: dict[str, int] = {}

    def report(progress: PullProgress) -> None:
        percent = 100 * progress.done // progress.total if progress.total else 0
        if progress.stage not in told or percent >= told[progress.stage] + PLAIN_STEP:
            told[progress.stage] = percent - percent % PLAIN_STEP
            line = f"{percent:3} %  {_capital(progress.description)}"
            console.print(line, highlight=False, soft_wrap=True)

    return report


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
