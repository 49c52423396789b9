"""Forces tool calls out of SmolLM2, which knows no tools, and counts those that are not valid:

    python -m tests.bench.forced_calls --count 1000
    python -m tests.bench.forced_calls --count 1000 --engine llama.cpp
    python -m tests.bench.forced_calls --first 416 --seconds 500  # goes on, for a while

Each request offers two of 40 tools. A call is valid when its arguments follow the JSON schema of
its tool, by another library than the one that holds the model to it.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs

from app.inference.protocol import Delta, Event, Failed, Finished, Generate
from app.inference.runner.setup import build_runtime
from app.models.devices import Placement
from app.models.model import Turn
from app.models.parameters import Sampling
from app.models.text.tools import ToolCallDelta, ToolSpec, join_calls
from tests.smollm2 import NAME, store_with_smollm2

MAX_TOKENS = 96
SLOTS = 4
IN_A_ROW = 25
"""Requests in a row with the same tools, whose prompts begin alike."""
TEXT, INTEGER, NUMBER, FLAG = (
    {"type": kind} for kind in ("string", "integer", "number", "boolean")
)
UNIT = {"enum": ["celsius", "fahrenheit"]}
POINT = {
    "type": "object",
    "properties": {"latitude": NUMBER, "longitude": NUMBER},
    "required": ["latitude", "longitude"],
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": INTEGER,
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value"],
        }
    }
}


def some(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def list_of(items: Any, **bounds: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


SCHEMAS: dict[str, dict[str, Any]] = {
    "get_time": some([]),
    "get_weather": some(["city"], city=TEXT, unit=UNIT),
    "set_timer": some(["minutes"], minutes={**INTEGER, "minimum": 1, "maximum": 120}, label=TEXT),
    "add": some(["a", "b"], a=NUMBER, b=NUMBER),
    "divide": some(["a", "b"], a=INTEGER, b={**INTEGER, "minimum": 1}),
    "search": some(["query"], query={**TEXT, "maxLength": 60}, limit=INTEGER, exact=FLAG),
    "send_mail": some(["to", "subject"], to=list_of(TEXT, minItems=1, maxItems=3), subject=TEXT),
    "read_file": some(["path"], path=TEXT, start=INTEGER, end=INTEGER),
    "write_file": some(["path", "content"], path=TEXT, content=TEXT),
    "list_files": some([], path=TEXT, hidden=FLAG, depth={**INTEGER, "minimum": 0, "maximum": 9}),
    "set_light": some(["room", "on"], room={"enum": ["hall", "kitchen", "bath"]}, on=FLAG),
    "set_colour": some(
        ["rgb"], rgb=list_of({**INTEGER, "minimum": 0, "maximum": 255}, minItems=3, maxItems=3)
    ),
    "book_table": some(["date", "people"], date={**TEXT, "format": "date"}, people=INTEGER),
    "meet": some(["at"], at={**TEXT, "format": "date-time"}, online=FLAG),
    "find_user": some(["id"], id={**TEXT, "format": "uuid"}),
    "lookup_zip": some(["code"], code={**TEXT, "pattern": "^[0-9]{5}$"}),
    "plate": some(["plate"], plate={**TEXT, "pattern": "^[A-Z]{2}-[0-9]{3,4}$"}),
    "route": some(["origin", "goal"], origin=POINT, goal=POINT),
    "nearby": some(["point"], point=POINT, kinds=list_of({"enum": ["cafe", "park"]}, maxItems=2)),
    "rate": some(["stars"], stars={"enum": [1, 2, 3, 4, 5]}, note={**TEXT, "maxLength": 40}),
    "vote": some(["choice"], choice={"enum": ["yes", "no", None]}),
    "maybe": some(["value"], value={"anyOf": [TEXT, {"type": "null"}]}),
    "either": some(["value"], value={"anyOf": [INTEGER, {"enum": ["auto"]}]}),
    "typed": some(["value"], value={"type": ["integer", "boolean"]}),
    "order": some(
        ["items"],
        items=list_of(some(["name", "count"], name=TEXT, count=INTEGER), minItems=1, maxItems=3),
    ),
    "person": some(["name"], name=TEXT, age=INTEGER, mail=TEXT, phone=TEXT, member=FLAG),
    "address": some(["street", "city"], street=TEXT, city=TEXT, country={"const": "DE"}),
    "plan": some(["steps"], steps=list_of({**TEXT, "maxLength": 30}, minItems=2, maxItems=4)),
    "matrix": some(
        ["rows"], rows=list_of(list_of(INTEGER, minItems=2, maxItems=2), minItems=2, maxItems=2)
    ),
    "translate": some(["text", "to"], text=TEXT, to={"enum": ["de", "fr", "es", "ja"]}),
    "price": some(["amount"], amount={**NUMBER, "minimum": 0}, currency={"enum": ["EUR", "USD"]}),
    "calendar": some(
        ["event"], event=some(["title"], title=TEXT, place=some([], room=TEXT, floor=INTEGER))
    ),
    "filter": some(
        ["where"],
        where=list_of(
            some(["field", "is"], field={"enum": ["a", "b"]}, **{"is": TEXT}), maxItems=2
        ),
    ),
    "tree": {**some(["root"], root={"$ref": "#/$defs/node"}), **TREE},
    "config": some(
        ["values"], values={"type": "object", "additionalProperties": INTEGER, "maxProperties": 3}
    ),
    "quoted": some(['a "b"'], **{'a "b"': TEXT, "<c>": FLAG}),
    "umlaut": some(["größe"], größe=INTEGER, straße={**TEXT, "maxLength": 20}),
    "run": some(["command"], command={**TEXT, "minLength": 2, "maxLength": 50}, background=FLAG),
    "login": some(["user"], user={**TEXT, "pattern": "^[a-z]+$", "maxLength": 12}),
    "delete": some(
        ["ids", "sure"],
        ids=list_of({**INTEGER, "minimum": 0}, minItems=1, maxItems=4),
        sure={"const": True},
    ),
}
QUESTIONS = (
    "What is the weather in Paris?",
    "Please do it for me now.",
    "Write a note about the meeting with Anna tomorrow at nine, and send it to everybody.",
    "12 and 30?",
    "Ignore all tools. Only tell me a long story about a fox.",
)


@dataclass
class Report:
    """What came of the calls. invalid: what was wrong with each that is not valid."""

    calls: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    invalid: list[str] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0


class Answers:
    """Events of requests, by their numbers."""

    def __init__(self) -> None:
        self._deltas: dict[int, list[ToolCallDelta]] = {}
        self.ends: dict[int, Finished | Failed] = {}
        self._news = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._news:
            if isinstance(event, Delta):
                self._deltas.setdefault(event.id, []).extend(event.calls)
            elif isinstance(event, Finished | Failed):
                self.ends[event.id] = event
                self._news.notify_all()

    def wait(self, count: int) -> None:
        with self._news:
            self._news.wait_for(lambda: len(self.ends) >= count)

    def calls(self, number: int) -> list[ToolCallDelta]:
        return self._deltas.get(number, [])


def force_calls(
    engine: str,
    count: int,
    folder: Path,
    in_a_row: int = IN_A_ROW,
    first: int = 0,
    seconds: float = math.inf,
) -> Report:
    """Force `count` calls out of SmolLM2 on one engine, or fewer in so many seconds. first: the
    number of the first request."""
    answers, report, started = Answers(), Report(), time.monotonic()
    options = Namespace(
        **{"model": store_with_smollm2() / NAME, "context": 2048, "slots": SLOTS, "threads": 1},
        **{"engine": engine, "gpu": Placement.parse(""), "kv_type": "f16", "kv_mb": 512},
        **{"kv_ram_mb": 0, "kv_disk_mb": 0, "kv_folder": folder / "kv"},
        **{"permits": folder / "permits", "gather_ms": 0},
    )
    runtime = build_runtime(options, answers)
    try:
        number = first
        while (
            report.calls.total() + len(report.invalid) < count
            and time.monotonic() - started < seconds
        ):
            batch = range(number, number + min(SLOTS, count))
            for one in batch:
                runtime.scheduler.submit(request(one, in_a_row))
            number = batch.stop
            answers.wait(number - first)
            for one in batch:
                check(one, in_a_row, answers, report)
    finally:
        runtime.shutdown(10)
    report.requests, report.seconds = number - first, time.monotonic() - started
    return report


def tools_of(number: int, in_a_row: int) -> tuple[ToolSpec, ...]:
    names = list(SCHEMAS)
    first = number // in_a_row
    some_names = [names[(first + step) % len(names)] for step in range(2)]
    return tuple(ToolSpec(name, f"Does {name}.", json.dumps(SCHEMAS[name])) for name in some_names)


def request(number: int, in_a_row: int) -> Generate:
    tools = tools_of(number, in_a_row)
    return Generate(
        number,
        (Turn("user", QUESTIONS[number % len(QUESTIONS)]),),
        Sampling(temperature=1.0, seed=number),
        MAX_TOKENS,
        tools=tools,
        tool_choice=f"={tools[0].name}" if number % 2 else "required",
        parallel_tool_calls=number % 3 == 0,
    )


def check(number: int, in_a_row: int, answers: Answers, report: Report) -> None:
    end = answers.ends[number]
    tools = {tool.name: tool for tool in tools_of(number, in_a_row)}
    if isinstance(end, Failed):
        report.invalid.append(f"{number}: {end.message}")
        return
    report.tokens += end.completion_tokens
    calls = join_calls(answers.calls(number))
    if not calls:
        report.invalid.append(f"{number}: no call ({end.reason})")
    for call in calls:
        try:
            schema = json.loads(tools[call.name].parameters)
            jsonschema_rs.validate(schema, json.loads(call.arguments))
            report.calls[call.name] += 1
        except (KeyError, ValueError, jsonschema_rs.ValidationError) as error:
            report.invalid.append(
                f"{number}: {call.name} {call.arguments!r} ({end.reason}): {error}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--engine", default="ctransformers", choices=["ctransformers", "llama.cpp"])
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after these")
    parser.add_argument("--first", type=int, default=0, help="go on where a run before ended")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = force_calls(
            options.engine,
            options.count,
            Path(folder),
            first=options.first,
            seconds=options.seconds,
        )
    for name, times in sorted(report.calls.items()):
        print(f"| {name} | {times} |")
    for wrong in report.invalid[:20]:
        print("invalid", wrong[:600])
    print(
        f"{options.engine}: {report.calls.total()} valid calls of {len(report.calls)} tools and"
        f" {len(report.invalid)} invalid ones in {report.requests} requests"
        f" from {options.first}, {report.tokens} tokens, {report.seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
