"""Requests of one model, and the queue that orders them fairly between users."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container
from dataclasses import dataclass

from app.inference.protocol import Delta, Failed, Finished, Generate, Prefill

# A request on the parent's side, and what its listener hears.


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
    """Request for one answer. `listener` is called in the event loop and must not block.

    is_background: nobody waits for it, so it runs only when nothing else does, and gives way.
    is_cancelled: its person wants no more of it, so that it is never begun again.
    turn: the round of the queue in which it is served, where everybody is served once a round.
    prompt_left: tokens still to be read, None while that is unknown; answered: characters written.
    spent: tokens read and written so far; quota_message: the sentence with which it was ended for
    them.
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


# Who is next: the order of a queue.


class FairQueue:
    """Queue of one model: about `limit` requests, and as many in the background.

    Up to there whoever comes is let in. In a full queue everybody still has a share, `limit`
    divided by the people who wait: who holds less is let in, up to twice the limit in all; who has
    nothing there always is. So nobody is kept out by what others have put in.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Request] = deque()
        self._background: deque[Request] = deque()
        self._turn = 0
        self._last_turn: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def has_room(self, user_id: int) -> bool:
        """Tell whether one more request of this user's may wait."""
        if len(self._waiting) < self._limit:
            return True
        held = Counter(request.user_id for request in self._waiting)
        own = held[user_id]
        return not own or (own < self._limit // len(held) and len(self._waiting) < 2 * self._limit)

    def add(self, request: Request) -> None:
        """Add a request at the end, whether there is room or not. A full background drops the
        oldest of the user who has most there."""
        if request.is_background:
            self._background.append(request)
            if len(self._background) > self._limit:
                self._background.remove(self._oldest_of_most())
        else:
            # A person who comes anew joins the round that is being served; one who has requests
            # in line already gets the round after the last of them.
            earlier = self._last_turn.get(request.user_id, self._turn - 1)
            request.turn = self._last_turn[request.user_id] = max(self._turn, earlier + 1)
            self._waiting.append(request)

    def requeue(self, request: Request) -> None:
        """Put a request back to the front: it has waited already."""
        (self._background if request.is_background else self._waiting).appendleft(request)

    def remove(self, request_id: int) -> Request | None:
        """Take a request out, if it waits here."""
        for line in (self._waiting, self._background):
            for request in line:
                if request.id == request_id:
                    line.remove(request)
                    return request
        return None

    def clear(self) -> list[Request]:
        """Take out everything that waits."""
        everything = [*self._waiting, *self._background]
        self._waiting.clear()
        self._background.clear()
        return everything

    def ordered(self) -> list[Request]:
        """Sort by round, then first come: everybody's first request before anybody's second."""
        return sorted(self._waiting, key=lambda request: request.turn)

    def _oldest_of_most(self) -> Request:
        held = Counter(request.user_id for request in self._background)
        return max(self._background, key=lambda request: held[request.user_id])

    def pop_next(self, *, is_idle: bool, among: Container[int] | None = None) -> Request | None:
        """Remove and return who is next; background work only when the model is idle.

        among: the ids that may be taken, which are nobody's in the background; None for all.
        """
        for request in self.ordered():
            if among is None or request.id in among:
                self._waiting.remove(request)
                self._turn = max(self._turn, request.turn)
                return request
        if self._background and is_idle and among is None:
            return self._background.popleft()
        return None
