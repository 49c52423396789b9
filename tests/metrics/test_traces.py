"""Traces of a real server, received by a collector here and read by the official types."""

from __future__ import annotations

import gzip
import json
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from websockets.asyncio.client import connect
from websockets.typing import Origin

from app.config import otlp_traces_endpoint
from app.metrics import traces
from app.metrics.traces import PARTS, open_tracing
from app.models.store import ModelStore
from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

SECRET = "marmalade77"
MODEL = "tiny"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """A server that takes traces by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths = set[str]()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                collector.bodies.append(body)
                collector.paths.add(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[Span]:
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                assert names["service.name"] == "wick"
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes_of(span: Span) -> dict[str, Any]:
    values = {a.key: a.value for a in span.attributes}
    return {name: getattr(v, str(v.WhichOneof("value"))) for name, v in values.items()}


async def test_spans_tell_what_an_answer_waited_for_and_no_text(
    tmp_path: Path, collector: Collector
) -> None:
    server = Server(
        tmp_path,
        tmp_path / "models",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "NO_PROXY": "*"},
        max_tokens=8,
        titles="off",
    )
    ModelStore(tmp_path / "models").install(write_tiny_gguf(tmp_path / "tiny.gguf"), MODEL)
    try:
        await server.start()
        async with httpx.AsyncClient(
            base_url=server.origin, headers={"Origin": server.origin}, timeout=PATIENCE
        ) as client:
            body = {"model": MODEL, "messages": [{"role": "user", "content": SECRET}]}
            answer = await client.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            request_id = answer.headers["X-Request-Id"]
            await client.get(f"/search?q={SECRET}")
            await client.get(f"/{SECRET}")
            await client.get("/healthz")
            await ask_by_socket(server)
        assert await server.stop() == 0
    finally:
        await server.close()
    spans = collector.spans()
    assert collector.paths == {"/v1/traces"}
    assert not any(SECRET.encode() in body for body in collector.bodies)
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    assert "GET /healthz" not in by_name
    assert {"GET /search", "GET other", "MESSAGE /chats/<chat_id>/live"} <= set(by_name)
    (program,) = by_name["POST /v1/chat/completions"]
    assert attributes_of(program) == {
        "wick.request_id": request_id,
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
    }
    check_answer(spans, program)
    (message,) = by_name["MESSAGE /chats/<chat_id>/live"]
    check_answer(spans, message)


def check_answer(spans: list[Span], request: Span) -> None:
    """Check the answer to a request: its parts follow each other, from its begin to its end."""
    (answer,) = (s for s in spans if s.parent_span_id == request.span_id)
    assert (answer.name, answer.trace_id) == ("answer", request.trace_id)
    facts = attributes_of(answer)
    assert facts["gen_ai.request.model"] == MODEL
    assert facts["wick.outcome"] in {"stop", "length"}
    assert facts["gen_ai.usage.output_tokens"] > 0
    assert facts["wick.request_id"] == attributes_of(request)["wick.request_id"]
    parts = {s.name: s for s in spans if s.parent_span_id == answer.span_id}
    assert set(parts) == set(PARTS)
    queue, reading, generating = (parts[name] for name in PARTS)
    slack = 5_000_000  # ns: each is converted from the clock that never goes back
    assert abs(queue.start_time_unix_nano - answer.start_time_unix_nano) < slack
    assert abs(queue.end_time_unix_nano - reading.start_time_unix_nano) < slack
    assert abs(reading.end_time_unix_nano - generating.start_time_unix_nano) < slack
    assert abs(generating.end_time_unix_nano - answer.end_time_unix_nano) < slack


async def ask_by_socket(server: Server) -> None:
    chat_id, client_id = secrets.token_hex(8), secrets.token_hex(16)
    address = f"{server.origin.replace('http', 'ws')}/chats/{chat_id}/live"
    async with connect(address, origin=Origin(server.origin), proxy=None) as page:
        await page.send(json.dumps({"text": SECRET, "client_id": client_id, "model": MODEL}))
        async for _ in page:
            if any(row["status"] == "done" for row in server.messages(chat_id)):
                return


async def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        server = Server(tmp_path, tmp_path / "models", environ)
        try:
            await server.start()
            async with httpx.AsyncClient(base_url=server.origin) as client:
                assert (await client.get("/")).status_code == 200
            assert await server.stop() == 0
        finally:
            await server.close()
    assert "Traceback" not in server.log


async def test_what_fails_is_marked_and_belongs_to_the_span_of_its_caller(
    collector: Collector,
) -> None:
    tracing = open_tracing(f"{collector.endpoint}/v1/traces")
    assert tracing is not None
    with pytest.raises(ValueError), tracing.span("one", f"00-{TRACE}-{PARENT}-01"):  # noqa: PT012
        with tracing.span("dropped") as outcome:
            outcome.is_dropped = True
        raise ValueError(SECRET)
    with tracing.span("two", "nonsense") as outcome:
        outcome.name, outcome.status = "GET /x", 500
    await tracing.close()
    one, two = collector.spans()
    assert (one.trace_id.hex(), one.parent_span_id.hex()) == (TRACE, PARENT)
    assert two.name == "GET /x"
    assert two.parent_span_id == b""
    assert {one.status.code, two.status.code} == {Status.STATUS_CODE_ERROR}
    assert SECRET.encode() not in b"".join(collector.bodies)


def test_without_its_libraries_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert open_tracing("http://127.0.0.1:4318/v1/traces") is None
    assert caplog.messages == [traces.NOT_INSTALLED]
    assert open_tracing("") is None


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({}, ""),
        ({"ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"ENDPOINT": "http://c:4318/base/"}, "http://c:4318/base/v1/traces"),
        ({"ENDPOINT": "http://c", "TRACES_ENDPOINT": "http://d/t"}, "http://d/t"),
    ],
)
def test_the_address_is_that_of_opentelemetry(given: dict[str, str], endpoint: str) -> None:
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in given.items()}
    assert otlp_traces_endpoint(environ, None) == endpoint
    assert otlp_traces_endpoint(environ | {"OTEL_SDK_DISABLED": "true"}, None) == ""
