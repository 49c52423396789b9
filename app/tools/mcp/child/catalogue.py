"""What an MCP server offers: read page by page, checked, and cut to its bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from mcp import Client, MCPError, types

from app.tools.mcp.child.schemas import SchemaUnusable, usable_schema
from app.tools.mcp.protocol import (
    MAX_ARGUMENTS,
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    MAX_PROMPTS,
    MAX_RESOURCES,
    MAX_SCHEMAS_BYTES,
    MAX_TITLE_CHARS,
    MAX_TOOLS,
    MAX_URI_CHARS,
    McpPrompt,
    McpResource,
    McpTool,
    Offers,
    PromptArgument,
)

MAX_PAGES: Final = 100
MAX_NOTES: Final = 20
T = TypeVar("T")
Page = tuple[Sequence[T], str | None]


async def list_offers(client: Client) -> Offers:
    """List all that the server offers."""
    notes: list[str] = []
    can = client.server_capabilities
    tools = await _tools(client, notes) if can.tools is not None else ()
    resources = await _resources(client, notes) if can.resources is not None else ()
    prompts = await _prompts(client, notes) if can.prompts is not None else ()
    more = len(notes) - MAX_NOTES
    if more > 0:
        notes[MAX_NOTES:] = [f"And {more} more."]
    return Offers(tools, resources, prompts, tuple(notes))


async def _all(
    kind: str, most: int, notes: list[str], page: Callable[[str | None], Awaitable[Page[T]]]
) -> list[T]:
    """Read pages until there are enough. A server may offer pages for ever."""
    found: list[T] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        try:
            items, cursor = await page(cursor)
        except MCPError as error:
            notes.append(f"It did not list its {kind}: {plain(error.message, 200)}")
            return found
        found += items[: most + 1 - len(found)]
        if cursor is None or len(found) > most:
            break
    if len(found) > most or cursor is not None:
        notes.append(f"It offers too many {kind}: only the first {min(most, len(found))} are used.")
    return found[:most]


async def _tools(client: Client, notes: list[str]) -> tuple[McpTool, ...]:
    async def page(cursor: str | None) -> Page[types.Tool]:
        listed = await client.list_tools(cursor=cursor)
        return listed.tools, listed.next_cursor

    tools: dict[str, McpTool] = {}
    total = 0
    for tool in await _all("tools", MAX_TOOLS, notes, page):
        name = plain(tool.name, 60)
        if not tool.name or len(tool.name) > MAX_NAME_CHARS:
            notes.append(f"The tool “{name}” is left out: its name is too long.")
            continue
        if tool.name in tools:
            notes.append(f"The tool “{name}” is offered twice; the first one is used.")
            continue
        try:
            schema = usable_schema(tool.input_schema)
        except SchemaUnusable as error:
            notes.append(f"The tool “{name}” is left out: its parameters {error}.")
            continue
        total += len(repr(schema))
        if total > MAX_SCHEMAS_BYTES:
            notes.append("Its tools take too much to describe; the last ones are left out.")
            break
        title = tool.title or (tool.annotations.title if tool.annotations else None) or tool.name
        tools[tool.name] = McpTool(
            tool.name,
            plain(title, MAX_TITLE_CHARS),
            (tool.description or "").strip()[:MAX_DESCRIPTION_CHARS],
            schema,
        )
    return tuple(tools.values())


async def _resources(client: Client, notes: list[str]) -> tuple[McpResource, ...]:
    async def page(cursor: str | None) -> Page[types.Resource]:
        listed = await client.list_resources(cursor=cursor)
        return listed.resources, listed.next_cursor

    found = await _all("resources", MAX_RESOURCES, notes, page)
    return tuple(
        {
            one.uri: McpResource(
                one.uri,
                plain(one.title or one.name or one.uri, MAX_TITLE_CHARS),
                plain(one.description, MAX_DESCRIPTION_CHARS),
                plain(one.mime_type, 100),
            )
            for one in found
            if 0 < len(one.uri) <= MAX_URI_CHARS
        }.values()
    )


async def _prompts(client: Client, notes: list[str]) -> tuple[McpPrompt, ...]:
    async def page(cursor: str | None) -> Page[types.Prompt]:
        listed = await client.list_prompts(cursor=cursor)
        return listed.prompts, listed.next_cursor

    prompts: dict[str, McpPrompt] = {}
    for one in await _all("prompts", MAX_PROMPTS, notes, page):
        given = one.arguments or []
        if len(given) > MAX_ARGUMENTS or any(_is_too_long(arg.name) for arg in (one, *given)):
            notes.append(f"The prompt “{plain(one.name, 60)}” is left out: it has too many blanks.")
            continue
        prompts.setdefault(
            one.name,
            McpPrompt(
                one.name,
                plain(one.title or one.name, MAX_TITLE_CHARS),
                plain(one.description, MAX_DESCRIPTION_CHARS),
                tuple(map(_argument, given)),
            ),
        )
    return tuple(prompts.values())


def _argument(given: types.PromptArgument) -> PromptArgument:
    return PromptArgument(given.name, plain(given.description, 300), bool(given.required))


def _is_too_long(name: str) -> bool:
    return not 0 < len(name) <= MAX_NAME_CHARS


def plain(text: Any, most: int) -> str:
    """Bring a text that a server gave into one line of at most so many characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
