"""Traces for OpenTelemetry: spans of requests and of what their answers waited for; never a text.

Off unless an address for them is set; then nothing of its libraries is imported. Spans go to that
address by OTLP over HTTP, in batches, in a thread of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import app
from app.inference.protocol import Failed, Finished
from app.inference.queue import Interrupted, Request, RequestEvent
from app.logs.request_ids import current_request, work_on

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)
EXPORT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
"""For what is left when Wick stops: a collector that is away holds nothing up."""
NOT_INSTALLED: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what sends traces is not installed, so none are sent:"
    " pip install 'wick[otel]'"
)
Attributes = dict[str, str | int | float]


@dataclass(slots=True)
class SpanOutcome:
    """How what a span is of has ended, filled in meanwhile. is_dropped: it is of no interest."""

    name: str = ""
    status: int | None = None
    is_error: bool = False
    is_dropped: bool = False


class Tracing:
    """Spans of one server. Use `open_tracing`."""

    def __init__(self, tracer: Tracer, processor: BatchSpanProcessor) -> None:
        self._tracer = tracer
        self._processor = processor

    @contextmanager
    def span(self, name: str, trace_parent: str = "") -> Iterator[SpanOutcome]:
        """Trace the block as a request; whatever it asks for becomes a part of it.

        trace_parent: the span of another program that it belongs to, as W3C's `traceparent`.
        """
        request, outcome = current_request(), SpanOutcome()
        span = self._tracer.start_span(name, _parent(trace_parent), attributes=_of_request())
        try:
            with work_on(replace(request, trace_parent=_trace_parent_of(span))):
                yield outcome
        except BaseException as error:
            outcome.is_error = not isinstance(error, asyncio.CancelledError)
            raise
        finally:
            if not outcome.is_dropped:
                self._end(span, outcome)

    def _end(self, span: Span, outcome: SpanOutcome) -> None:
        if outcome.name:
            method, _, route = outcome.name.partition(" ")
            span.update_name(outcome.name)
            span.set_attributes({"http.request.method": method, "http.route": route})
        if outcome.status is not None:
            span.set_attribute("http.response.status_code", outcome.status)
        if outcome.is_error or (outcome.status or 0) >= 500:
            _mark_failed(span)
        span.end()

    def on_event(self, model: str, request: Request, event: RequestEvent) -> None:
        """Trace an answer when it has ended: how long it waited, read its prompt, and wrote."""
        finished = event.finished if isinstance(event, Interrupted) else event
        if not isinstance(event, Finished | Failed | Interrupted):
            return
        outcome = event.reason if isinstance(event, Finished) else type(event).__name__.lower()
        attributes: Attributes = {"gen_ai.request.model": model, "wick.outcome": outcome}
        if isinstance(finished, Finished):
            attributes |= {
                "gen_ai.usage.input_tokens": finished.prompt_tokens,
                "gen_ai.usage.output_tokens": finished.completion_tokens,
                "wick.cached_tokens": finished.cached_tokens,
                "wick.cache_tier": finished.tier,
            }
        if request.origin.id:
            attributes["wick.request_id"] = request.origin.id
        self._trace_answer(request, attributes, is_error=not isinstance(event, Finished))

    def _trace_answer(self, request: Request, attributes: Attributes, *, is_error: bool) -> None:
        from opentelemetry.trace import set_span_in_context

        ended = time.monotonic()
        answer = self._tracer.start_span(
            "answer",
            _parent(request.origin.trace_parent),
            attributes=attributes,
            start_time=_epoch_ns(request.submitted),
        )
        inside = set_span_in_context(answer)
        times = [request.submitted, request.begun_at, request.first_token_at, ended]
        for name, start, end in zip(PARTS, times, times[1:], strict=False):
            if start is not None:
                part = self._tracer.start_span(name, inside, start_time=_epoch_ns(start))
                part.end(_epoch_ns(ended if end is None else end))
        if is_error:
            _mark_failed(answer)
        answer.end(_epoch_ns(ended))

    async def close(self) -> None:
        """Send what is left, within CLOSE_SECONDS."""
        sending = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, CLOSE_SECONDS)


PARTS: Final = ("queue", "read prompt", "generate")
"""Of an answer: until it is begun, until its first token, until its end."""


def open_tracing(endpoint: str) -> Tracing | None:
    """Open it, with the address of a collector; None without one, or without its libraries."""
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(NOT_INSTALLED)
        return None
    resource = Resource.create({"service.name": "wick", "service.version": app.__version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_SECONDS))
    provider.add_span_processor(processor)
    return Tracing(provider.get_tracer("wick", app.__version__), processor)


def _of_request() -> Attributes:
    request_id = current_request().id
    return {"wick.request_id": request_id} if request_id else {}


def _parent(trace_parent: str) -> Context:
    """Return the context of a span, or that of none. What is not well formed is none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {"traceparent": trace_parent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _trace_parent_of(span: Span) -> str:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = dict[str, str]()
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent", "")


def _mark_failed(span: Span) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)


def _epoch_ns(monotonic: float) -> int:
    """Return when this was, in nanoseconds since 1970."""
    return time.time_ns() - int((time.monotonic() - monotonic) * 1e9)
