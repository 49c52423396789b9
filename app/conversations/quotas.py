"""Quotas of one user, at a time and in a day. Pages and programs share them."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.audit import audit
from app.background import BackgroundTasks
from app.config import Settings
from app.conversations.hub import Hub
from app.db import users
from app.db.connection import Database
from app.errors import LimitReached, WickError
from app.inference.protocol import Delta, Finished, Prefill
from app.inference.queue import Request

log = logging.getLogger(__name__)
RETRY_SECONDS = 5
"""After which a program may ask again when too many of its user's requests are on their way."""


@dataclass(frozen=True, slots=True)
class DailyQuota:
    """A user's day in tokens; it begins anew at local midnight, in `seconds`."""

    used: int
    limit: int
    seconds: int

    @property
    def sentence(self) -> str:
        return (
            f"{self.used:,} of {self.limit:,} tokens used today. "
            f"The count resets at midnight, in {_hours(self.seconds)}."
        )

    @property
    def reset_hint(self) -> str:
        return f"You can continue at midnight, in {_hours(self.seconds)}."


class Quotas:
    """Counts in memory, and writes down what is used of a day. `load` comes first.

    requests: lists a user's requests that wait or run in the models' queues.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        requests: Callable[[int], list[Request]],
        hub: Hub,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tasks = BackgroundTasks()
        self._settings = settings
        self._db = db
        self._requests = requests
        self._hub = hub
        self._clock = clock
        self._days: dict[str, Counter[int]] = {}
        self._reserved: Counter[int] = Counter()

    async def load(self) -> None:
        self._days = {day: Counter(used) for day, used in (await users.by_day(self._db)).items()}

    @contextmanager
    def admit(self, user_id: int) -> Iterator[None]:
        """Count one more answer as on its way, until the block ends. Raises LimitReached."""
        self.ensure_allowed(user_id)
        self._reserved[user_id] += 1
        try:
            yield
        finally:
            self._reserved[user_id] -= 1

    def ensure_allowed(self, user_id: int) -> None:
        """Check that one more answer may be asked for now. Raises LimitReached.

        Who is alone on this machine takes nobody's turn: then only the queue is a limit.
        """
        most, on_their_way = self._settings.requests_per_user, self._active_count(user_id)
        if self._settings.has_accounts and on_their_way >= most:
            audit("limit-reached", limit="requests", user=user_id)
            raise LimitReached(
                f"{on_their_way} of your answers are running or waiting; the limit is {most}. "
                "Wait until one has ended.",
                RETRY_SECONDS,
            )
        day = self._used_up(user_id)
        if day is not None:
            raise LimitReached(
                f"Your {day.limit:,} tokens for today are used up. {day.reset_hint}", day.seconds
            )

    def allowance(self, user_id: int) -> DailyQuota | None:
        """None where there is no limit. What is being read and written is counted too."""
        most = self._settings.daily_tokens
        if not most:
            return None
        running = sum(request.spent for request in self._requests(user_id))
        return DailyQuota(self._used()[user_id] + running, most, self._until_midnight())

    def _used_up(self, user_id: int) -> DailyQuota | None:
        day = self.allowance(user_id)
        if day is None or day.used < day.limit:
            return None
        audit("limit-reached", limit="tokens of a day", user=user_id)
        return day

    def record_usage(self, request: Request, event: Prefill | Delta | Finished) -> str | None:
        """Return the sentence that ends an answer with which its user's day is used up."""
        if request.is_background:
            return None
        if isinstance(event, Finished):
            self._write_down(request, event)
            return None
        day = self._used_up(request.user_id)
        if day is None:
            return None
        return f"With this your {day.limit:,} tokens for today are used up. {day.reset_hint}"

    def _write_down(self, request: Request, finished: Finished) -> None:
        """Count evaluated tokens: what was kept from before is not evaluated again."""
        tokens = max(0, finished.prompt_tokens - finished.cached_tokens)
        tokens += finished.completion_tokens
        if not tokens:
            return
        self._used()[request.user_id] += tokens
        day = self._today().isoformat()
        self.tasks.spawn(self._write(request.user_id, day, tokens), "usage")

    async def _write(self, user_id: int, day: str, tokens: int) -> None:
        try:
            await self._db.write(lambda c: users.add_usage(c, user_id, day, tokens))
        except WickError as error:
            log.warning("Tokens that were used are not written down: %s", error)

    def _active_count(self, user_id: int) -> int:
        """Answers in chats, those included that wait for their turn there, and all others."""
        others = [r for r in self._requests(user_id) if self._hub.stream(r.id) is None]
        return self._hub.unfinished_count(user_id) + len(others) + self._reserved[user_id]

    def _used(self) -> Counter[int]:
        """Usage of today, by user. A clock may go back to a day that seemed to be over."""
        today = self._today().isoformat()
        if today not in self._days:
            self._days[today] = Counter()
            for day in sorted(self._days)[: -users.KEPT_DAYS]:
                if day < today:
                    del self._days[day]
        return self._days[today]

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock()).astimezone().date()

    def _until_midnight(self) -> int:
        midnight = datetime.combine(self._today() + timedelta(days=1), datetime.min.time())
        return max(1, math.ceil(midnight.timestamp() - self._clock()))


def _hours(seconds: int) -> str:
    minutes = math.ceil(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
