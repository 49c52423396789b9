"""Shapes of `/v1/messages`: the fields of requests, and the documented responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.api.parameters import AnthropicParameters, chosen_in
from app.errors import ApiError
from app.models.text.thinking import Effort


class Source(msgspec.Struct):
    """Source of a picture or a document: `base64` with its data, `text` with a text, or `url`."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class SentBlock(msgspec.Struct):
    """Part of a message. `type` says which fields it has: `text`, `image`, `document`, `thinking`,
    `redacted_thinking`, `tool_use` or `tool_result`."""

    type: str
    text: str | None = None
    source: Source | None = None
    title: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: str | list[SentBlock] | None = None
    is_error: bool | None = None


class SentMessage(msgspec.Struct):
    role: Annotated[str, Meta(extra_json_schema={"enum": ["user", "assistant", "system"]})]
    content: str | list[SentBlock]


class ThinkingConfig(msgspec.Struct):
    """budget_tokens: after so many tokens of a thought the answer begins; display: `omitted` sends
    none of its text."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    """format: JSON that follows a schema; no other token can be chosen."""

    effort: Effort | None = None
    format: OutputFormat | None = None


class AnthropicTool(msgspec.Struct):
    """Tool that the model may call. input_schema: the JSON schema of its arguments. Tools of other
    types than `custom` are those of Anthropic's servers, and passed over."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class AnthropicToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class MessagesRequest(AnthropicParameters, kw_only=True):
    """Request whose missing or null fields take the model's default. Other fields are ignored."""

    model: str
    messages: Annotated[list[SentMessage], Meta(min_length=1)]
    system: str | list[SentBlock] | None = None
    stream: bool | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: AnthropicToolChoice | None = None

    @property
    def shows_thoughts(self) -> bool:
        """Tell whether thoughts are asked for at all."""
        return self.thinking is not None and self.thinking.type != "disabled"

    @property
    def chosen(self) -> dict[str, Any]:
        """The generation parameters that the request has. Raises ApiError."""
        if self.max_tokens == 0:
            raise ApiError("max_tokens must be at least 1.", param="max_tokens")
        return chosen_in(self, "anthropic")


# Responses. While tokens come they are written by hand, and this documents them.


class AnthropicErrorObject(msgspec.Struct):
    """message: a sentence for people."""

    type: str
    message: str


class AnthropicErrorResponse(msgspec.Struct):
    type: Literal["error"]
    error: AnthropicErrorObject
    request_id: str | None


class ContentBlock(msgspec.Struct):
    """Part of an answer: `thinking` with a signature, `text`, or `tool_use`."""

    type: Literal["text", "thinking", "tool_use"]
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class OutputDetails(msgspec.Struct):
    thinking_tokens: int


class MessageUsage(msgspec.Struct):
    """input_tokens: those of the prompt that were read anew; cache_read_input_tokens: those that
    were still in memory."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    output_tokens_details: OutputDetails


StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class MessageResponse(msgspec.Struct):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason
    stop_sequence: str | None
    usage: MessageUsage


class TokensCount(msgspec.Struct):
    input_tokens: int
