"""A web server of our own that serves files from memory, and misbehaves when it is told to."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Stub:
    """Server of files, with faults. files: contents by path; headers: more of them, by path.

    etag: whether it sends one; statuses: a path is answered with these first, one each time, 0
    meaning as usual; cut_at: the next answers break off after so many bytes of the body; stall: of
    this path, send half, then nothing; redirects: a path leads to another address. asked: method,
    path and range of every request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    etag: bool = True
    ranges: bool = True
    says_length: bool = True
    kind: str = "application/octet-stream"
    statuses: dict[str, list[int]] = field(default_factory=dict)
    cut_at: list[int] = field(default_factory=list)
    stall: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    sent_headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def ranges_asked(self) -> list[str]:
        return [ranged for method, _, ranged in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    stub: Stub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        stub, path = self.stub, self.path.partition("?")[0]
        ranged = self.headers.get("Range", "")
        stub.asked.append((self.command, path, ranged))
        stub.sent_headers.append(dict(self.headers))
        extra = stub.headers.get(path, {})
        status = stub.statuses[path].pop(0) if stub.statuses.get(path) else 0
        if status or (path not in stub.files and path not in stub.redirects):
            self.head(status or 404, {"Content-Length": "0"} | extra)
        elif path in stub.redirects:
            self.head(302, {"Location": stub.redirects[path], "Content-Length": "0"} | extra)
        else:
            self.file(stub.files[path], ranged, extra, with_body=with_body)

    def file(self, data: bytes, ranged: str, extra: dict[str, str], *, with_body: bool) -> None:
        stub, start, status = self.stub, 0, 200
        etag = f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324
        headers = {"Content-Type": stub.kind} | ({"ETag": etag} if stub.etag else {}) | extra
        wanted = self.headers.get("If-Range", etag)
        if ranged and stub.ranges and wanted == etag:
            match = re.fullmatch(r"bytes=(\d+)-", ranged)
            assert match is not None
            start, status = int(match[1]), 206
            if start >= len(data):
                self.head(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if stub.says_length:
            headers["Content-Length"] = str(len(data) - start)
        self.head(status, headers)
        if with_body:
            self.body(data[start:])

    def body(self, data: bytes) -> None:
        stub = self.stub
        if stub.cut_at:
            data = data[: stub.cut_at.pop(0)]
            self.close_connection = True
        try:
            if stub.stall == self.path:
                self.wfile.write(data[: len(data) // 2])
                stub.stalled.set()
                stub.go_on.wait(20)
                data = data[len(data) // 2 :]
            self.wfile.write(data)
        except ConnectionError:
            pass

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_stub() -> Iterator[Stub]:
    stub = Stub()
    handler = type("Handler", (Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        stub.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
