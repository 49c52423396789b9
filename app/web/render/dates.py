"""Dates and hours as the reader's clock shows them: of their time zone, not of this machine's.

A browser tells the zone in a cookie (`static/early.js`), with its distance from UTC in minutes
for a machine that does not know the zone.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import time
import zoneinfo
from typing import Final

from quart import has_request_context, has_websocket_context, request, websocket

COOKIE: Final = "zone"
_COOKIE_VALUE = re.compile(r"([A-Za-z0-9_+/-]{0,64})\.(-?\d{1,3})")
MAX_MINUTES: Final = 16 * 60


def to_local(at: float) -> dt.datetime:
    """Return a time as the reader's clock shows it; as this machine's does where nobody asks."""
    return dt.datetime.fromtimestamp(at, dt.UTC).astimezone(_zone())


def heading_of(at: float, today: dt.date) -> str:
    """Return what a user would call the time of a chat."""
    day = to_local(at).date()
    age = (today - day).days
    if age <= 0:
        return "Today"
    if age == 1:
        return "Yesterday"
    if age <= 7:
        return "Previous 7 days"
    return f"{day:%B} {day.year}"


def day_of(at: float) -> str:
    """A date as a user writes it."""
    day = to_local(at).date()
    return f"{day.day} {day:%B %Y}"


def clock(at: float) -> str:
    """Return the hour and minute; browsers write it as their users do (`static/days.js`)."""
    return f"{to_local(at):%H:%M}"


def as_utc(at: float) -> str:
    """Return a moment as programs read it."""
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def time_ago(at: float, now: float) -> str:
    """Return how long it is since then; of what is more than a day ago, the day."""
    minutes = int(now - at) // 60
    if minutes < 2:
        return "just now"
    if minutes < 120:
        return f"{minutes} minutes ago"
    return f"{minutes // 60} hours ago" if minutes < 1440 else day_of(at)


def utc_offset() -> int:
    """Return the minutes by which the clock that pages go by is ahead of UTC."""
    offset = to_local(time.time()).utcoffset() or dt.timedelta()
    return int(offset.total_seconds() // 60)


def _zone() -> dt.tzinfo | None:
    if has_request_context():
        return parse_zone(request.cookies.get(COOKIE, ""))
    return parse_zone(websocket.cookies.get(COOKIE, "")) if has_websocket_context() else None


@functools.lru_cache(maxsize=256)
def parse_zone(cookie: str) -> dt.tzinfo | None:
    """Return None for what names none: then this machine's own counts."""
    found = _COOKIE_VALUE.fullmatch(cookie)
    if found is None or abs(minutes := int(found[2])) > MAX_MINUTES:
        return None
    try:
        return zoneinfo.ZoneInfo(found[1])
    except (KeyError, ValueError, OSError):  # unknown, no name of a zone, the name of a folder
        return dt.timezone(dt.timedelta(minutes=minutes))
