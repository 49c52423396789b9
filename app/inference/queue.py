"""Queue of one model: its requests, whose turn it is, and when that comes.

It is shared out fairly between users. Estimates of times come from measured speeds.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.inference.protocol import Delta, Failed, Finished, Generate, Prefill
from app.logs.request_ids import RequestRef, current_request

_KEEP: Final = 0.7  # of what was measured before, at each new measurement
_LATE_SHARE: Final = 0.25  # of a usual answer that one which is longer already is given still
_CHATS: Final = 256  # whose last prompts are remembered
_CHARACTERS: Final = 4.0  # of a token, until it is measured


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits; `position` 1 is next, in about `eta_seconds` when that can be known. 0:
    the runner has it, and has not begun yet."""

    id: int
    position: int
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """The request waits for its model; `detail` says what is being done, for the user."""

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
    is_cancelled: its user wants no more of it, so that it is never begun again.
    turn: the round of the queue in which it is served, where everybody is served once a round.
    prompt_left: tokens still to be read, None while that is unknown; answered: characters written.
    spent: tokens read and written so far; quota_message: the sentence with which it was ended for
    them. submitted, begun_at, first_token_at: when it came, was handed to the runner and got its
    first token, in seconds of the monotonic clock. origin: what asked for it.
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
    submitted: float = field(default_factory=time.monotonic)
    begun_at: float | None = None
    first_token_at: float | None = None
    origin: RequestRef = field(default_factory=current_request)

    @property
    def id(self) -> int:
        return self.command.id

    def add_usage(self, event: Prefill | Delta) -> None:
        """Count what this tells of."""
        if isinstance(event, Prefill):
            self.spent = max(0, event.done - event.cached)
        else:
            self.spent += event.count

    def note_time(self, event: RequestEvent) -> None:
        """Keep when it was begun and answered for the first time."""
        if isinstance(event, Queued) and not event.position and self.begun_at is None:
            self.begun_at = time.monotonic()
        elif isinstance(event, Delta) and self.first_token_at is None:
            self.first_token_at = time.monotonic()


class FairQueue:
    """Queue of one model: about `limit` requests, and as many in the background.

    Up to there whoever comes is let in. In a full queue everybody still has a share, `limit`
    divided by the users who wait: who holds less is let in, up to twice the limit in all; who has
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
            # A user who comes anew joins the round that is being served; one who has requests
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


class WeightedRate:
    """So much for so much, the newest counting most; long measurements more than short ones."""

    def __init__(self, amount: float = 0.0, per: float = 0.0) -> None:
        self._amount, self._per = amount, per

    def record(self, amount: float, per: float) -> None:
        self._amount = self._amount * _KEEP + amount
        self._per = self._per * _KEEP + per

    @property
    def value(self) -> float | None:
        return self._amount / self._per if self._amount > 0 and self._per > 0 else None


class ThroughputByConcurrency:
    """Tokens a second of one request, by how many run beside it and itself."""

    def __init__(self) -> None:
        self._rates: dict[int, WeightedRate] = {}

    def record(self, running: int, tokens: int, seconds: float) -> None:
        if tokens > 0 and seconds > 0:
            self._rates.setdefault(running, WeightedRate()).record(tokens, seconds)

    def at(self, running: int) -> float | None:
        """Rate at a concurrency; if unmeasured, from the nearest, as all share the same cores."""
        known = {n: rate.value for n, rate in self._rates.items() if rate.value is not None}
        if not known:
            return None
        nearest = min(known, key=lambda n: abs(n - running))
        return (known[nearest] or 0.0) * nearest / running


class EtaEstimator:
    """Estimator for one model's requests; all is None before an answer was measured."""

    def __init__(self) -> None:
        self._reading = ThroughputByConcurrency()
        self._writing = ThroughputByConcurrency()
        self._characters = WeightedRate(100 * _CHARACTERS, 100)
        self._answer = WeightedRate()
        self._read: OrderedDict[str, list[int]] = OrderedDict()
        self.context_length = 0  # tokens; no prompt is longer. 0: not known

    def on_event(self, request: Request, event: Prefill | Delta) -> None:
        """Something of a running request is done."""
        if isinstance(event, Prefill):
            request.prompt_left = event.total - event.done
        else:
            request.prompt_left = 0
            request.answered += len(event.text)

    def on_finished(self, request: Request, event: Finished, running: int) -> None:
        """A request has ended, while `running` ran, itself included."""
        if not event.completion_tokens:
            return  # it was cancelled before its prompt was read
        read = event.prompt_tokens - event.cached_tokens
        self._reading.record(running, read, event.prefill_seconds)
        self._writing.record(running, event.completion_tokens, event.decode_seconds)
        if not event.dropped:
            self._characters.record(request.command.characters, event.prompt_tokens)
        if event.reason != "cancelled":
            self._answer.record(event.completion_tokens, 1)
        self._remember(request.command)

    def start_times(
        self, running: Sequence[Request], waiting: Sequence[Request], slots: int
    ) -> list[float | None]:
        """Estimate for each of `waiting`, in order, the seconds until it has a slot."""
        if not waiting:
            return []
        together = max(1, min(slots, len(running) + len(waiting)))
        left = [self._seconds(request, together) for request in (*running, *waiting)]
        if any(seconds is None for seconds in left):
            return [None] * len(waiting)
        known = [seconds or 0.0 for seconds in left]
        free = known[: len(running)] + [0.0] * max(0, slots - len(running))
        heapq.heapify(free)
        starts: list[float | None] = []
        for seconds in known[len(running) :]:
            starts.append(free[0])
            heapq.heapreplace(free, free[0] + seconds)
        return starts

    def _seconds(self, request: Request, together: int) -> float | None:
        """Estimate the seconds left of a request, be it running or not begun."""
        default, writing = self._answer.value, self._writing.at(together)
        characters = self._characters.value or _CHARACTERS
        if default is None or writing is None:
            return None
        to_write = max(default - request.answered / characters, default * _LATE_SHARE)
        to_read = request.prompt_left
        if to_read is None:
            to_read = round(self.new_characters(request.command) / characters)
            to_read = min(to_read, self.context_length or to_read)
        reading = self._reading.at(together) or writing  # reading is never slower than writing
        return to_read / reading + to_write / writing

    def new_characters(self, command: Generate) -> int:
        """Count the characters of a prompt after what its chat's last request shares with it."""
        turns, before = command.turns, self._read.get(command.chat, [])
        same = 0
        while same < min(len(turns), len(before)) and hash(turns[same]) == before[same]:
            same += 1
        if same and same == len(before) and same < len(turns) and turns[same].role == "assistant":
            same += 1  # the answer itself, which the model wrote
        return command.characters - sum(len(turn.content) for turn in turns[:same])

    def _remember(self, command: Generate) -> None:
        if command.chat:
            self._read[command.chat] = [hash(turn) for turn in command.turns]
            self._read.move_to_end(command.chat)
            if len(self._read) > _CHATS:
                self._read.popitem(last=False)
