"""Errors of one try at another server, and what helps."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx

from app.config import Settings
from app.inference.remote.chunks import ErrorChunk
from app.inference.remote.health import error_detail, error_suffix, status_message
from app.models.upstream import Upstream

Kind = Literal["down", "busy", "too_long", "wrong"]
"""down: another server may do it; busy: this one may do it later; too_long: a shorter prompt may
do; wrong: it will have nothing of this request as it is."""
_STATUS: Final[dict[Kind, int]] = {"down": 502, "busy": 503, "too_long": 413, "wrong": 400}
MAX_RETRY_AFTER_SECONDS: Final = 3600.0
_TOO_LONG: Final = re.compile(
    r"context[ _](length|size|window)|maximum (context|prompt|input) length|exceed_context"
    r"|too many tokens|(prompt|input|request|message).{0,40} too long|longer than the model"
    r"|max_tokens must be at least",
    re.IGNORECASE,
)
_LIMIT: Final = re.compile(
    r"(?:maximum context length is|context length of|context length \(|n_ctx\D{1,4})\s*([\d,]+)",
    re.IGNORECASE,
)
_ASKED: Final = re.compile(
    r"\(([\d,]+) in the messages|prompt contains at least ([\d,]+) input tokens"
    r"|input \(([\d,]+) tokens\)|n_prompt_tokens\D{1,4}([\d,]+)|resulted in ([\d,]+) tokens",
    re.IGNORECASE,
)


class UpstreamError(Exception):
    """A try that failed before its first word; the text is a sentence for the person.

    public: the same without the server's own words, which may repeat somebody's. pause: seconds
    that a busy server asks for, None when it does not say. limit, asked: tokens of its window, and
    of the prompt that was too long for it, where it tells them.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        public: str = "",
        pause: float | None = None,
        limit: int | None = None,
        asked: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.public = public or message
        self.pause = pause
        self.limit = limit
        self.asked = asked

    @property
    def status(self) -> int:
        """Status code for programs, as in HTTP."""
        return _STATUS[self.kind]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. connect: for a connection; first: for the first word of an answer; between: for
    the next one; busy: to try again, in all, at servers that have too much to do, the first time
    after `pause` at least; end: for what comes behind the last word."""

    connect: float = 5.0
    first: float = 300.0
    between: float = 60.0
    busy: float = 60.0
    pause: float = 1.0
    end: float = 5.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Timeouts:
        first = max(1.0, settings.remote_timeout)
        return cls(first=first, between=min(60.0, first))


def from_response(upstream: Upstream, response: httpx.Response, body: bytes) -> UpstreamError:
    """Make the error of a status other than 200."""
    status = response.status_code
    sentence = status_message(upstream, status, error_detail(body))
    return _error(
        status,
        body,
        sentence,
        public=status_message(upstream, status),
        pause=retry_after(response.headers.get("retry-after")),
    )


def from_error_chunk(upstream: Upstream, chunk: ErrorChunk) -> UpstreamError:
    """Make the error of an event in the stream: some servers report everything there."""
    value = chunk.value if isinstance(chunk.value, dict) else {}
    code = value.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    sentence = f"{upstream.host} broke off with an error{error_detail(chunk.body)}."
    return _error(status, chunk.body, sentence, public=f"{upstream.host} broke off with an error.")


def _error(
    status: int, body: bytes, sentence: str, *, public: str, pause: float | None = None
) -> UpstreamError:
    text = body[:65536].decode("utf-8", "replace")
    if status in {400, 413, 422, 500} and _TOO_LONG.search(text):
        limit, asked = _number(_LIMIT, text), _number(_ASKED, text)
        return UpstreamError("too_long", sentence, public=public, limit=limit, asked=asked)
    if status in {429, 503}:
        return UpstreamError("busy", sentence, public=public, pause=pause)
    return UpstreamError("wrong" if status in {400, 422} else "down", sentence, public=public)


def from_transport_error(
    upstream: Upstream, error: httpx.HTTPError, timeouts: Timeouts
) -> UpstreamError:
    """Make the error of a missing response."""
    host = upstream.host
    if isinstance(error, httpx.ConnectTimeout):
        return UpstreamError(
            "down", f"{host} has not taken a call within {timeouts.connect:g} seconds."
        )
    if isinstance(error, httpx.ConnectError):
        return UpstreamError("down", f"Can't reach {host}{error_suffix(error)}.")
    return UpstreamError("down", f"{host} broke off{error_suffix(error)}.")


def retry_after(text: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, given as such or as a date."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(text)
            seconds = (then - dt.datetime.now(dt.UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if seconds == seconds else None  # noqa: PLR0124


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(_flat(text))
    if found is None:
        return None
    digits = next(group for group in found.groups() if group).replace(",", "")
    return int(digits[:12]) if digits else None


def _flat(text: str) -> str:
    """JSON in which figures stand beside the message, too."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(value, ensure_ascii=False)
