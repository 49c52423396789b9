"""A request on the parent's side, and what its listener hears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.inference.protocol import Delta, Failed, Finished, Generate, Prefill


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits; `position` 1 is next, in about `eta_seconds` when that can be known. 0:
    the runner has it, and has not begun yet."""

    id: int
    position: int
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """The request waits for its model; `detail` says what is being done, for the person."""

    id: int
    detail: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The request ended for a reason that is not its own: the runner died, or Wick stops.

    finished: what was made of it, when it was ended for what it takes.
    """

    id: int
    message: str
    finished: Finished | None = None


RequestEvent = Queued | ModelLoading | Prefill | Delta | Finished | Failed | Interrupted


@dataclass(slots=True, eq=False)
class Request:
    """One wish for one answer. `listener` is called in the event loop and must not block.

    is_background: nobody waits for it, so it runs only when nothing else does, and gives way.
    is_cancelled: its person wants no more of it, so that it is never begun again.
    turn: the round of the queue in which it is served, where everybody is served once a round.
    prompt_left: tokens still to be read, None while that is unknown; answered: characters written.
    spent: tokens read and written so far; too_much: the sentence with which it was ended for them.
    """

    command: Generate
    user_id: int
    listener: Callable[[RequestEvent], None]
    is_background: bool = False
    was_begun: bool = False
    is_retry: bool = False
    is_preempted: bool = False
    is_cancelled: bool = False
    turn: int = 0
    prompt_left: int | None = None
    answered: int = 0
    spent: int = 0
    quota_message: str = ""

    @property
    def id(self) -> int:
        return self.command.id

    def add_usage(self, event: Prefill | Delta) -> None:
        """Count what this tells of."""
        if isinstance(event, Prefill):
            self.spent = max(0, event.done - event.cached)
        else:
            self.spent += event.count
