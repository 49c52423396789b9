"""Server-sent events as a client reads them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: dict[str, Any]


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """Whole ones only: of half an event nothing is seen."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields.get("data"):
            data = json.loads(fields["data"])
            yield Event(fields.get("event", "message"), fields.get("id", ""), data)
            fields = {}


class Follower:
    """What a program knows of an answer that it follows, over as many connections as it takes."""

    def __init__(self, http: httpx.AsyncClient, address: str) -> None:
        self.http = http
        self.address = address
        self.text = ""
        self.last = ""
        self.replaced = 0
        self.end: dict[str, Any] | None = None

    async def read(self, most: int | None = None) -> None:
        """Connect, and take at most so many events."""
        headers = {"Last-Event-ID": self.last} if self.last else {}
        async with self.http.stream("GET", self.address, headers=headers) as response:
            assert response.status_code in {200, 204}, await response.aread()
            count = 0
            async for event in events(response):
                self.take(event)
                count += 1
                if count == most:
                    return

    def take(self, event: Event) -> None:
        self.last = event.id or self.last
        match event.name:
            case "replace":
                self.text = event.data["text"]
                self.replaced += 1
            case "delta":
                self.text += event.data["text"]
            case "end":
                assert self.end is None
                self.end = event.data
