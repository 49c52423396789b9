"""Messages between the server and an MCP connector: one JSON object a line, in both directions."""

from __future__ import annotations

from typing import Final

import msgspec

MAX_MESSAGE_BYTES: Final = 8 << 20
"""Of one message of an MCP server."""
MAX_REQUEST_BYTES: Final = 32 << 20
"""What an MCP server may send for one request, notes and noise included."""
MAX_EVENT_BYTES: Final = 16 << 20
MAX_TOOLS: Final = 200
MAX_RESOURCES: Final = 500
MAX_PROMPTS: Final = 100
MAX_NAME_CHARS: Final = 128
MAX_TITLE_CHARS: Final = 120
MAX_DESCRIPTION_CHARS: Final = 2_000
MAX_URI_CHARS: Final = 2_000
MAX_SCHEMA_BYTES: Final = 16 << 10
MAX_SCHEMAS_BYTES: Final = 512 << 10
"""Of all tools of one server."""
MAX_ARGUMENTS: Final = 20
"""Of one prompt."""
MAX_RESULT_CHARS: Final = 64_000
MAX_PARTS: Final = 64
"""Of one resource."""


class McpProgram(msgspec.Struct, tag="stdio", frozen=True):
    """A program that speaks MCP on its standard input and output. environment: all of it."""

    command: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: str


class McpAddress(msgspec.Struct, tag="http", frozen=True):
    """A server that speaks MCP by streamable HTTP."""

    url: str
    headers: dict[str, str]


McpEndpoint = McpProgram | McpAddress


class ListOffers(msgspec.Struct, tag=True, frozen=True):
    """List tools, resources and prompts."""

    id: int


class CallTool(msgspec.Struct, tag=True, frozen=True):
    """Call a tool by the server's own name for it."""

    id: int
    name: str
    arguments: dict[str, object]


class ReadResource(msgspec.Struct, tag=True, frozen=True):
    """Read a resource."""

    id: int
    uri: str


class GetPrompt(msgspec.Struct, tag=True, frozen=True):
    """Fill in a prompt."""

    id: int
    name: str
    arguments: dict[str, str]


class CancelCommand(msgspec.Struct, tag=True, frozen=True):
    """Give up the command of that id; no event follows for it."""

    id: int


McpCommand = ListOffers | CallTool | ReadResource | GetPrompt | CancelCommand


class Connected(msgspec.Struct, tag=True, frozen=True):
    """The server has answered. name, version: as it calls itself."""

    name: str = ""
    version: str = ""


class McpTool(msgspec.Struct, frozen=True):
    """A tool of an MCP server. parameters: a JSON schema that models can be held to."""

    name: str
    title: str
    description: str
    parameters: dict[str, object]


class McpResource(msgspec.Struct, frozen=True):
    """Something to read on an MCP server."""

    uri: str
    title: str
    description: str = ""
    media_type: str = ""


class PromptArgument(msgspec.Struct, frozen=True):
    """A blank in a prompt of an MCP server."""

    name: str
    description: str = ""
    is_required: bool = False


class McpPrompt(msgspec.Struct, frozen=True):
    """A prompt of an MCP server."""

    name: str
    title: str
    description: str = ""
    arguments: tuple[PromptArgument, ...] = ()


class Offers(msgspec.Struct, frozen=True):
    """All that one server offers. notes: sentences on what was left out, for its owner."""

    tools: tuple[McpTool, ...] = ()
    resources: tuple[McpResource, ...] = ()
    prompts: tuple[McpPrompt, ...] = ()
    notes: tuple[str, ...] = ()


class Listed(msgspec.Struct, tag=True, frozen=True):
    """All that the server offers."""

    id: int
    offers: Offers


class Called(msgspec.Struct, tag=True, frozen=True):
    """A tool has returned."""

    id: int
    text: str
    is_error: bool = False


class ResourcePart(msgspec.Struct, frozen=True):
    """Content of a resource: text, or else data."""

    media_type: str = ""
    text: str | None = None
    data: bytes = b""


class Read(msgspec.Struct, tag=True, frozen=True):
    """A resource was read."""

    id: int
    parts: tuple[ResourcePart, ...]


class Prompted(msgspec.Struct, tag=True, frozen=True):
    """A prompt was filled in."""

    id: int
    text: str


class CommandRefused(msgspec.Struct, tag=True, frozen=True):
    """A command could not be carried out; the connector lives on."""

    id: int
    message: str


class Noise(msgspec.Struct, tag=True, frozen=True):
    """The last lines that a program has written to its standard error."""

    text: str


class Ended(msgspec.Struct, tag=True, frozen=True):
    """The connection is over, or never was; the connector ends."""

    message: str


McpResult = Listed | Called | Read | Prompted | CommandRefused
McpEvent = Connected | Listed | Called | Read | Prompted | CommandRefused | Noise | Ended

_ENCODER: Final = msgspec.json.Encoder()
_ENDPOINTS: Final[msgspec.json.Decoder[McpEndpoint]] = msgspec.json.Decoder(McpEndpoint)
_COMMANDS: Final[msgspec.json.Decoder[McpCommand]] = msgspec.json.Decoder(McpCommand)
_EVENTS: Final[msgspec.json.Decoder[McpEvent]] = msgspec.json.Decoder(McpEvent)


def to_line(message: McpEndpoint | McpCommand | McpEvent) -> bytes:
    """Encode a message as one line."""
    return _ENCODER.encode(message) + b"\n"


def endpoint_from(line: bytes) -> McpEndpoint:
    """Decode what to connect to. Raises ValueError."""
    return _ENDPOINTS.decode(line)


def command_from(line: bytes) -> McpCommand:
    """Decode a command. Raises ValueError."""
    return _COMMANDS.decode(line)


def event_from(line: bytes) -> McpEvent:
    """Decode an event. Raises ValueError."""
    return _EVENTS.decode(line)
