"""Estimates of how long requests take, from measured speeds and their lengths."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from app.inference.protocol import Delta, Finished, Generate, Prefill
from app.inference.queue import Request

_KEEP: Final = 0.7  # of what was measured before, at each new measurement
_LATE_SHARE: Final = 0.25  # of a usual answer that one which is longer already is given still
_CHATS: Final = 256  # whose last prompts are remembered
_CHARACTERS: Final = 4.0  # of a token, until it is measured


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
