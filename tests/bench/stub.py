"""A server with the OpenAI protocol whose every answer is scripted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@contextmanager
def serving(reply: Reply, models: bytes = b'{"data": [{"id": "stub-1"}]}') -> Iterator[str]:
    """Serve at the address it yields. `reply` answers each chat completion and gets its body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            send(self, models)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply(self, json.loads(body))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:  # who asked has heard enough
        pass


def chunk(text: str | None = None, **more: object) -> bytes:
    delta = {} if text is None else {"content": text}
    value = {"choices": [{"delta": delta, "finish_reason": None}], **more}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def answer(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """A whole answer of as many tokens as are allowed."""
    count = request["max_tokens"]
    usage = {"prompt_tokens": 100, "completion_tokens": count}
    parts = [b": keep-alive\n\n", chunk(role="assistant"), *(chunk(" word") for _ in range(count))]
    parts += [chunk(choices=[], usage=usage), b"data: [DONE]\n\n"]
    send(handler, b"".join(parts))


def break_off(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    send(handler, chunk("Once") + chunk(" upon"))


def lie_about_length(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "9999")
    handler.end_headers()
    handler.wfile.write(chunk("Once"))


def say_nothing(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    send(handler, b"data: [DONE]\n\n")


def refuse(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    send(handler, b'{"error": {"message": "no room\\u001b[31m today."}}', 503)


def fail_inside(handler: BaseHTTPRequestHandler, _request: dict[str, Any]) -> None:
    send(handler, chunk("Once") + b'data: {"error": {"message": "out of memory"}}\n\n')


def garbage(data: bytes) -> Reply:
    return lambda handler, _request: send(handler, data)
