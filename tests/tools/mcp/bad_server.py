"""An MCP server that misbehaves: `python bad_server.py [HOW]`. It knows JSON-RPC, and no SDK.

Each call of a tool sets HOW to its name, also for the lists that follow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOW = sys.argv[1] if len(sys.argv) > 1 else ""
Message = dict[str, Any]
RECURSIVE = {"type": "object", "properties": {"next": {"$ref": "#"}}}


def say(message: object) -> None:
    print(json.dumps(message), flush=True)


def answer(request: Message, result: object) -> None:
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def tool(name: str, schema: object = None) -> Message:
    return {"name": name, "inputSchema": schema or {"type": "object"}}


def nested(depth: int) -> Message:
    schema: Message = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


LIES = [
    tool("recursive", RECURSIVE),
    tool("elsewhere", {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}),
    tool("nowhere", {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}),
    tool("banana", {"type": "object", "properties": {"a": {"type": "banana"}}}),
    tool("deep", nested(60)),
    tool("huge", {"type": "object", "description": "x" * 100_000}),
    tool("look", {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}}),
    tool("twice"),
    tool("twice"),
    tool("n" * 500),
    {"name": "<b>bold</b> & \x1b[31mred", "title": "<script>x</script>\n# head",
     "description": "<img src=x onerror=y>", "inputSchema": {"type": "object"}},
]  # fmt: skip


def listed(request: Message) -> object:
    if HOW == "lies":
        return {"tools": LIES}
    if HOW == "many":  # 1,000 a page, for ever
        page = int((request.get("params") or {}).get("cursor", 0))
        tools = [tool(f"t{page}_{number}") for number in range(1000)]
        return {"tools": tools, "nextCursor": str(page + 1)}
    if HOW == "many-at-once":
        return {"tools": [tool(f"t{number}" + "x" * 60) for number in range(100_000)]}
    if HOW == "empty-pages":
        return {"tools": [], "nextCursor": "again"}
    if HOW == "nonsense":
        return {"tools": [{"name": 5}, None]}
    return {"tools": [tool("run")]}


def call(request: Message) -> None:
    global HOW  # noqa: PLW0603 - it is a small server
    HOW = request["params"]["name"]
    if HOW == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)
    if HOW == "huge":
        answer(request, {"content": [{"type": "text", "text": "x" * (20 << 20)}]})
    if HOW == "flood":
        note = {"method": "notifications/message", "params": {"level": "info", "data": "x" * 9000}}
        while True:
            say({"jsonrpc": "2.0", **note})
    if HOW == "flood-errors":
        while True:
            sys.stderr.write("x" * 200 + "\n")
    if HOW == "not-mcp":
        answer(request, {"content": "text"})
        return
    if HOW == "wrong-id":
        say({"jsonrpc": "2.0", "id": 12345, "result": {"content": []}})
    if HOW == "junk":
        print("Working!\n{not json}\n[1, 2]\n\xff\0", flush=True)
    answer(request, {"content": [{"type": "text", "text": f"ran in {os.getpid()}"}]})


def main() -> None:
    if HOW == "silent":
        time.sleep(3600)
    if HOW == "dead":
        print("ModuleNotFoundError: no module named fox", file=sys.stderr)
        sys.exit(1)
    if HOW == "junk":
        print("Starting up!\n{not json}\n[1, 2]\n\xff\0", flush=True)
    if HOW == "child":  # which ignores what would end it
        code = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
        )
        child = subprocess.Popen([sys.executable, "-c", code])
        Path(sys.argv[2]).write_text(str(child.pid))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        method = request["method"]
        if method == "initialize":
            info = {"name": "Bad", "version": "0"}
            version = request["params"]["protocolVersion"]
            can: Message = {"tools": {}}
            answer(request, {"protocolVersion": version, "capabilities": can, "serverInfo": info})
        elif method == "tools/list":
            answer(request, listed(request))
        elif method == "tools/call":
            call(request)
        elif "id" in request:
            say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "?"}})


if __name__ == "__main__":
    main()
