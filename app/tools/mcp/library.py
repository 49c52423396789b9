"""Prompts and resources of tool servers, for the composer of those who may use them."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from app.db.mcp_servers import McpServer
from app.errors import ToolServerFailed, ToolServerNotFound
from app.tools.mcp.protocol import (
    GetPrompt,
    McpPrompt,
    McpResource,
    Offers,
    Prompted,
    Read,
    ReadResource,
    ResourcePart,
)
from app.tools.mcp.servers import McpServers, offers_from

MAX_VALUE_CHARS: Final = 50_000
MAX_FILES: Final = 8
"""Of one resource, which may have many parts."""


@dataclass(frozen=True, slots=True)
class ResourceFile:
    """A part of a resource, as a file to attach."""

    name: str
    data: bytes


class McpLibrary:
    """Prompts and resources by server. What a user may not use does not exist for them."""

    def __init__(self, servers: McpServers) -> None:
        self._servers = servers

    async def offers(self, user_id: int) -> list[tuple[McpServer, Offers]]:
        """List what the servers offer that this user may use."""
        usable = await self._servers.usable(user_id)
        return [(server, offers_from(server.offers)) for server in usable]

    async def prompt(self, user_id: int, server_id: int, name: str) -> McpPrompt:
        """Raises ToolServerNotFound."""
        _, offers = await self._find(user_id, server_id)
        for prompt in offers.prompts:
            if prompt.name == name:
                return prompt
        raise ToolServerNotFound("There is no such prompt.")

    async def fill(self, user_id: int, server_id: int, name: str, values: Mapping[str, str]) -> str:
        """Let the server fill in its prompt. Raises ToolServerNotFound or ToolServerFailed."""
        server, _ = await self._find(user_id, server_id)
        prompt = await self.prompt(user_id, server_id, name)
        given = {
            blank.name: values[blank.name][:MAX_VALUE_CHARS]
            for blank in prompt.arguments
            if values.get(blank.name)
        }
        filled = await self._servers.request(server, user_id, lambda i: GetPrompt(i, name, given))
        assert isinstance(filled, Prompted)  # noqa: S101 - it answers what was asked
        return filled.text

    async def read(self, user_id: int, server_id: int, uri: str) -> list[ResourceFile]:
        """Read a resource. Raises ToolServerNotFound or ToolServerFailed."""
        server, offers = await self._find(user_id, server_id)
        found = next((one for one in offers.resources if one.uri == uri), None)
        if found is None:
            raise ToolServerNotFound("There is no such resource.")
        read = await self._servers.request(server, user_id, lambda i: ReadResource(i, uri))
        assert isinstance(read, Read)  # noqa: S101 - it answers what was asked
        if not read.parts:
            raise ToolServerFailed(f"{server.name} has nothing in “{found.title}”.")
        return [
            ResourceFile(_file_name(found, part), _bytes_of(part))
            for part in read.parts[:MAX_FILES]
        ]

    async def _find(self, user_id: int, server_id: int) -> tuple[McpServer, Offers]:
        for server, offers in await self.offers(user_id):
            if server.id == server_id:
                return server, offers
        raise ToolServerNotFound("There is no such tool server.")


def _bytes_of(part: ResourcePart) -> bytes:
    return part.data if part.text is None else part.text.encode("utf-8", "replace")


def _file_name(resource: McpResource, part: ResourcePart) -> str:
    """Make a name whose ending says what is in it."""
    in_uri = PurePosixPath(unquote(urlsplit(resource.uri).path)).name
    if PurePosixPath(in_uri).suffix:
        return in_uri
    media_type = part.media_type or resource.media_type
    fallback = ".txt" if part.text is not None else ".bin"
    ending = ".md" if media_type == "text/markdown" else mimetypes.guess_extension(media_type)
    return resource.title.replace("/", "-") + (ending or fallback)
