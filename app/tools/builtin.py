"""The tools that Wick brings: the time, a calculator, web pages, and searching the web."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from app.config import Settings
from app.documents.reader import DocumentReader
from app.errors import WickError
from app.models.text.tools import ToolSpec
from app.tools import web
from app.tools.calculator import CalculationError, calculate
from app.tools.tool import Tool, ToolContext, ToolResult

SOURCE: Final = "Wick"
Run = Callable[[Mapping[str, Any]], Awaitable[str]]


def schema(required: str = "", longest: int = 200, pattern: str = "", **properties: str) -> str:
    """Return the JSON schema of arguments that are all texts, with their descriptions.

    longest, pattern: what they can be, so that small models come to an end."""
    bound: dict[str, Any] = {"pattern": pattern} if pattern else {"maxLength": longest}
    fields = {
        name: {"type": "string", "description": text, **bound} for name, text in properties.items()
    }
    found: dict[str, Any] = {"type": "object", "properties": fields}
    if required:
        found["required"] = [required]
    return json.dumps(found | {"additionalProperties": False})


def text_argument(arguments: Mapping[str, Any], name: str) -> str:
    """Return an argument as text; models also give numbers where a text is asked for."""
    value = arguments.get(name, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


TIME: Final = Tool(
    ToolSpec(
        "current_time",
        "Tells the date and the time now.",
        schema(timezone="An IANA time zone such as Europe/Paris; empty for the user's own."),
    ),
    "Time",
    SOURCE,
)
CALCULATOR: Final = Tool(
    ToolSpec(
        "calculator",
        "Calculates an expression exactly, such as (2 + 3) * 4, sqrt(2), 2^10 or sin(pi / 6).",
        schema(
            "expression",
            pattern=r"^[0-9a-z+*/^%()., -]{1,120}$",
            expression="The expression to calculate.",
        ),
    ),
    "Calculator",
    SOURCE,
)
READ_PAGE: Final = Tool(
    ToolSpec(
        "read_web_page",
        "Reads a web page or a document on the web as text.",
        schema("url", web.MAX_URL_CHARS, url="Its address, with https://."),
    ),
    "Read a web page",
    SOURCE,
)
WEB_SEARCH: Final = Tool(
    ToolSpec(
        "web_search",
        "Searches the web; gives titles, addresses and excerpts.",
        schema("query", query="What to search for, as words."),
    ),
    "Search the web",
    SOURCE,
)


class BuiltinTools:
    """Tool source of Wick itself. Web pages and search are there where the owner allows them."""

    def __init__(self, settings: Settings, reader: DocumentReader) -> None:
        self._settings = settings
        self._reader = reader
        self._runs: dict[str, tuple[Tool, Run]] = {
            TIME.spec.name: (TIME, self._time),
            CALCULATOR.spec.name: (CALCULATOR, self._calculate),
        }
        if settings.read_web_pages:
            self._runs[READ_PAGE.spec.name] = (READ_PAGE, self._read_page)
        if settings.searxng:
            self._runs[WEB_SEARCH.spec.name] = (WEB_SEARCH, self._search_web)

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        return [tool for tool, _ in self._runs.values()]

    async def call(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        try:
            return ToolResult(await self._runs[name][1](arguments))
        except (CalculationError, WickError) as error:
            return ToolResult(str(error), is_error=True)

    async def _time(self, arguments: Mapping[str, Any]) -> str:
        name = text_argument(arguments, "timezone").strip()
        try:
            zone = zoneinfo.ZoneInfo(name) if name else None
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise CalculationError(f"There is no time zone {name[:80]}.") from None
        return f"{dt.datetime.now(dt.UTC).astimezone(zone):%A, %d %B %Y, %H:%M:%S %Z (UTC%z)}"

    async def _calculate(self, arguments: Mapping[str, Any]) -> str:
        return calculate(text_argument(arguments, "expression"))

    async def _read_page(self, arguments: Mapping[str, Any]) -> str:
        page = await web.fetch_page(text_argument(arguments, "url").strip())
        if page.text:
            return page.text
        document = await self._reader.read(page.name, page.data)
        return document.text

    async def _search_web(self, arguments: Mapping[str, Any]) -> str:
        return await web.search(self._settings.searxng, text_argument(arguments, "query"))
