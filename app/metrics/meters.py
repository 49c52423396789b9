"""Counters of requests, answers and tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

import app
from app.inference.protocol import Delta, Failed, Finished
from app.inference.queue import Interrupted, Request, RequestEvent

_RESPONSE_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAITING_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OTHER: Final = "other"
"""A label for methods and routes that Wick does not have, whatever they are called."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Meters:
    """Counters of one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._begun = set[int]()
        one = self.registry
        self._build = Counter("wick_build", "Version of Wick.", ["version"], registry=one)
        self._build.labels(app.__version__).inc()
        self._responses = Counter(
            "wick_http_responses",
            "Responses by method, route and status.",
            ["method", "route", "status"],
            registry=one,
        )
        self._seconds = Histogram(
            "wick_http_response_seconds",
            "Seconds until a response began.",
            ["method", "route"],
            buckets=_RESPONSE_SECONDS,
            registry=one,
        )
        self._answers = Counter(
            "wick_answers", "Answers that have ended, by how.", ["model", "outcome"], registry=one
        )
        self._first = Histogram(
            "wick_first_token_seconds",
            "Seconds from a request to the first token of its answer, waiting included.",
            ["model"],
            buckets=_WAITING_SECONDS,
            registry=one,
        )
        self._prompt = Counter(
            "wick_prompt_tokens",
            "Tokens of prompts, by where they came from: a tier of the KV cache, or evaluated.",
            ["model", "source"],
            registry=one,
        )
        self._completion = Counter(
            "wick_completion_tokens", "Tokens that were written.", ["model"], registry=one
        )
        self._prefill_seconds = Counter(
            "wick_prefill_seconds", "Seconds in which prompts were read.", ["model"], registry=one
        )
        self._decode_seconds = Counter(
            "wick_decode_seconds", "Seconds in which answers were written.", ["model"], registry=one
        )

    def count_response(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response. route: its pattern, empty where there is none."""
        method = method if method in METHODS else OTHER
        self._responses.labels(method, route or OTHER, status).inc()
        self._seconds.labels(method, route or OTHER).observe(seconds)

    def count_usage(self, model: str, request: Request, event: RequestEvent) -> None:
        """Count what a request is told."""
        match event:
            case Delta():
                if request.id not in self._begun:
                    self._begun.add(request.id)
                    self._first.labels(model).observe(self._clock() - request.submitted)
            case Finished():
                self._end(model, request, event.reason)
                self._count_tokens(model, event)
            case Interrupted():
                self._end(model, request, "interrupted")
                if event.finished is not None:
                    self._count_tokens(model, event.finished)
            case Failed():
                self._end(model, request, "failed")

    def _end(self, model: str, request: Request, outcome: str) -> None:
        self._begun.discard(request.id)
        self._answers.labels(model, outcome).inc()

    def _count_tokens(self, model: str, event: Finished) -> None:
        self._prompt.labels(model, event.tier).inc(event.cached_tokens)
        evaluated = max(0, event.prompt_tokens - event.cached_tokens)
        self._prompt.labels(model, "evaluated").inc(evaluated)
        self._completion.labels(model).inc(event.completion_tokens)
        self._prefill_seconds.labels(model).inc(event.prefill_seconds)
        self._decode_seconds.labels(model).inc(event.decode_seconds)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format. Blocks: some are read from the disk."""
        return generate_latest(self.registry)
