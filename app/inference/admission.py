"""Who is next, and how long it will take: the order of a queue and its estimates in seconds."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
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
        self._turn = 0
        self._last_turn: dict[int, int] = {}

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
        """At the end, whether there is room or not; the background forgets its oldest instead."""
        if request.is_background:
            self._background.append(request)
            if len(self._background) > self._limit:
                self._background.popleft()
        else:
            # A person who comes anew joins the round that is being served; one who has requests
            # in line already gets the round after the last of them.
            earlier = self._last_turn.get(request.user_id, self._turn - 1)
            request.turn = self._last_turn[request.user_id] = max(self._turn, earlier + 1)
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

    def in_order(self) -> list[Request]:
        """First in, first out within a round; everybody's first request before anybody's second."""
        return sorted(self._waiting, key=lambda request: request.turn)

    def take(self, *, is_idle: bool) -> Request | None:
        """Remove and return who is next; background work only when the model is idle."""
        if self._waiting:
            request = self.in_order()[0]
            self._waiting.remove(request)
            self._turn = max(self._turn, request.turn)
            return request
        if self._background and is_idle:
            return self._background.popleft()
        return None


@dataclass(slots=True)
class Average:
    """Of what was measured lately; None before anything was."""

    usual: float | None = None

    def record(self, value: float) -> None:
        if self.usual is None:
            self.usual = value
        else:
            self.usual += _WEIGHT * (value - self.usual)


class Durations(Average):
    """How long answers of one model take, in seconds from slot to end."""

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
