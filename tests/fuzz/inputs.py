"""Hostile inputs, each made from one seed: files, requests, frames and raw bytes."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode

from tests.foreign_files import chatgpt, open_webui
from tests.fuzz import files

Kind = Literal["request", "import", "frames", "raw", "model", "picture", "document"]
WEIGHTS: dict[Kind, int] = {
    **{"request": 67, "import": 5, "frames": 13, "raw": 5},
    **{"model": 4, "picture": 3, "document": 3},
}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**63, 2**70, 1e308, -1e-308, [], {}, [[]], {"a": []}, ""),
    *("\ud800", "\0", "a" * 3000, "\r\nX: y", "../../etc/passwd", "<script>", "{{7*7}}", "NaN"),
    *("\u202e", "'; --", '"*"', "%", "\U0001f600" * 9, "tiny", "0123456789abcdef", "user"),
]
HEADERS = (
    *("Accept", "Accept-Encoding", "Content-Type", "Cookie", "Range", "If-None-Match"),
    *("HX-Request", "HX-Current-URL", "Forwarded", "X-Forwarded-For", "Referer"),
    *("Sec-Fetch-Site", "Content-Encoding", "Authorization"),
)


@dataclass(frozen=True, slots=True)
class Input:
    """Input to send: a request, a file to import or to upload, the frames of one socket, or raw
    bytes."""

    kind: Kind
    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    frames: tuple[bytes | str, ...] = ()


def make(seed: str, routes: list[tuple[str, str]], sockets: list[str]) -> Input:
    """Make an input; the same one for the same seed."""
    chance = random.Random(seed)
    kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if kind == "import":
        return Input("import", "POST", "/exchange/import", body=_file(chance))
    if kind == "frames":
        rule = chance.choice(sockets).replace("<chat_id>", "0123456789abcdef")
        frames = tuple(_frame(chance) for _ in range(chance.randrange(1, 4)))
        return Input("frames", path=f"{rule}?{_query(chance)}", frames=frames)
    if kind == "raw":
        return Input("raw", body=_raw(chance))
    if kind in {"model", "picture", "document"}:
        return _upload(chance, kind)
    method, rule = chance.choice(routes)
    return Input(
        "request",
        method,
        f"{_path(chance, rule)}?{_query(chance)}",
        _headers(chance),
        b"" if method == "GET" else _body(chance),
    )


def _upload(chance: random.Random, kind: Kind) -> Input:
    if kind == "model":
        return Input("model", "PUT", "/models/upload/hostile.gguf", body=files.model_file(chance))
    name, data = files.picture(chance) if kind == "picture" else files.document(chance)
    return Input(kind, "POST", f"/api/v1/files?name={quote(name)}", body=data)


def _odd(chance: random.Random) -> Any:
    return chance.choice(ODD)


def _text(chance: random.Random) -> str:
    value = _odd(chance)
    return value if isinstance(value, str) else json.dumps(value)


def _path(chance: random.Random, rule: str) -> str:
    pieces = rule.split("/")
    for place, piece in enumerate(pieces):
        if piece.startswith("<"):
            known = ["0123456789abcdef", "tiny", "1", "2"]
            text = chance.choice([*known, *known, _text(chance)])
            pieces[place] = quote(text, safe="", errors="replace")
    return "/".join(pieces)


def _query(chance: random.Random) -> str:
    names = ["q", "seen", "first", "after", "until", "model", "part", "in", "role", "since", "done"]
    chosen = chance.sample(names, chance.randrange(4))
    return urlencode({name: _text(chance) for name in chosen}, errors="replace")


def _headers(chance: random.Random) -> dict[str, str]:
    found = {}
    for name in chance.sample(HEADERS, chance.randrange(4)):
        text = _text(chance).encode("ascii", "replace").decode()
        found[name] = "".join(c if c.isprintable() else " " for c in text).strip()[:500]
    return found


def _mutated(chance: random.Random, value: Any, times: int = 3) -> Any:
    """A copy in which some values are odd, missing or doubled."""
    copy = json.loads(json.dumps(value))
    for _ in range(chance.randrange(1, times + 1)):
        spots: list[tuple[Any, Any]] = []
        waiting: list[Any] = [copy]
        while waiting:
            inner = waiting.pop()
            items = inner.items() if isinstance(inner, dict) else enumerate(inner)
            for key, found in list(items):
                spots.append((inner, key))
                if isinstance(found, dict | list):
                    waiting.append(found)
        if not spots:
            break
        where, key = chance.choice(spots)
        where[key] = deepcopy(_odd(chance))  # which later changes go into
    return copy


def _wick(chance: random.Random) -> Any:
    answer = {
        **{"id": 2, "parent": 1, "role": "assistant", "text": "Tier.", "status": "done"},
        **{"model": "tiny", "error": None, "finish_reason": "stop", "created_at": 2.0},
        **{"settings": {"sampling": {"temperature": 1.0}}, "completion_tokens": 3},
        **{"decode_seconds": 0.5, "finished_at": 3.0},
    }
    said = [{"id": 1, "parent": None, "role": "user", "text": "Was?", "created_at": 1.0}, answer]
    chat = {
        **{"id": f"{chance.getrandbits(64):016x}", "title": "Foxes", "title_source": "model"},
        **{"model": "tiny", "created_at": 1.0, "updated_at": 2.0, "settings": {"seed": 1}},
        **{"current": 2, "messages": said, "pinned_at": None, "archived_at": None},
    }
    return {"format": "wick-chats", "version": 1, "chats": [chat]}


def _content(chance: random.Random) -> bytes:
    makers: list[Callable[[], Any]] = [chatgpt, open_webui, lambda: _wick(chance)]
    value = _mutated(chance, chance.choice(makers)(), 4)
    data = bytearray(json.dumps(value).encode())
    if chance.random() < 0.2 and data:
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _file(chance: random.Random) -> bytes:
    roll = chance.random()
    if roll < 0.05:
        return chance.choice([b"", b"[" * 50_000, b"{}", b"[]", b"PK\x03\x04", b"\xff\xfe", b"3"])
    if roll < 0.7:
        return _content(chance)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", chance.choice([0, 8, 12, 14])) as archive:
        for number in range(chance.randrange(1, 3)):
            archive.writestr(f"conversations-{number}.json", _content(chance))
    data = bytearray(file.getvalue())
    for _ in range(chance.randrange(4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _body(chance: random.Random) -> bytes:
    names = ["model", "messages", "prompt", "input", "text", "stream", "name", "title", "options"]
    value: Any = {name: _odd(chance) for name in chance.sample(names, chance.randrange(5))}
    roll = chance.random()
    if roll < 0.4:
        return json.dumps(_mutated(chance, value | {"model": "tiny"}, 2)).encode()
    if roll < 0.7:
        return urlencode({k: _text(chance) for k in value}, errors="replace").encode()
    return chance.choice([b"\xff", b"[" * 5000, b'{"text":"\xff"}', b"null", chance.randbytes(40)])


def _frame(chance: random.Random) -> bytes | str:
    known = {"text": "hello", "client_id": "a" * 32, "model": "tiny", "headers": {}}
    frames: list[bytes | str] = ["", "[" * 5000, "null", "\ufeff{}", chance.randbytes(30), "{}"]
    if chance.random() < 0.4:
        return chance.choice(frames)
    return json.dumps(_mutated(chance, known, 2))


def _raw(chance: random.Random) -> bytes:
    lines = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET ? HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    data = bytearray(chance.choice(lines))
    for _ in range(chance.randrange(3)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)
