"""Who is next, and how long it will take: the order of a queue and its estimates in seconds."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.errors import QueueFull
from app.inference.requests import Request

_WEIGHT = 0.3  # of the newest answer in the average
_LATE_SHARE = 0.25  # of a usual answer that one which took longer already is given still


class Line:
    """What waits for one model: at most `limit` requests, and as many in the background."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._waiting: deque[Request] = deque()
        self._background: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_wanted(self) -> bool:
        """Whether anything waits, in the background or not."""
        return bool(self._waiting or self._background)

    def check_room(self) -> None:
        """Raises QueueFull."""
        if len(self._waiting) >= self._limit:
            raise QueueFull(
                f"{len(self._waiting)} requests are waiting for {self._name} already. "
                "Please try again in a moment."
            )

    def add(self, request: Request) -> None:
        """At the end. Raises QueueFull; the background silently forgets its oldest instead."""
        if request.is_background:
            self._background.append(request)
            if len(self._background) > self._limit:
                self._background.popleft()
        else:
            self.check_room()
            self._waiting.append(request)

    def put_back(self, request: Request) -> None:
        """To the front: it has waited already."""
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
        """Everything that waited."""
        everything = [*self._waiting, *self._background]
        self._waiting.clear()
        self._background.clear()
        return everything

    def in_order(self, running: Iterable[Request]) -> list[Request]:
        """First in, first out, but everybody's first request before anybody's second.

        What runs already counts as its user's earlier requests.
        """
        asked = Counter(request.user_id for request in running if not request.is_background)
        rounds = []
        for request in self._waiting:
            rounds.append((asked[request.user_id], request))
            asked[request.user_id] += 1
        return [request for _, request in sorted(rounds, key=lambda pair: pair[0])]

    def take(self, running: Sequence[Request]) -> Request | None:
        """Remove and return who is next. Background work only when nothing runs or waits."""
        if self._waiting:
            request = self.in_order(running)[0]
            self._waiting.remove(request)
            return request
        if self._background and not running:
            return self._background.popleft()
        return None


@dataclass(slots=True)
class Durations:
    """How long answers of one model take, in seconds from slot to end, as measured lately."""

    usual: float | None = None

    def record(self, seconds: float) -> None:
        if self.usual is None:
            self.usual = seconds
        else:
            self.usual += _WEIGHT * (seconds - self.usual)

    def starts(self, elapsed: Sequence[float], slots: int, waiting: int) -> list[float | None]:
        """For each of `waiting` requests in order, the seconds until it has a slot.

        `elapsed`: how long each running answer has been at it. None before anything was measured.
        """
        if self.usual is None:
            return [None] * waiting
        free = [max(self.usual - spent, self.usual * _LATE_SHARE) for spent in elapsed]
        free += [0.0] * max(0, slots - len(free))
        heapq.heapify(free)
        starts: list[float | None] = []
        for _ in range(waiting):
            start = heapq.heappop(free)
            starts.append(start)
            heapq.heappush(free, start + self.usual)
        return starts
