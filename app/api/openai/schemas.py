"""Shapes of `/v1`: the fields of requests, and the documented responses."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from app.api.openai.replies import UsageObject
from app.api.parameters import OpenAIParameters, chosen_in
from app.errors import ApiError

# Fields that both requests for an answer share.


Count = Annotated[int, Meta(ge=-1)]
LogitBias = Annotated[
    dict[str, Annotated[float, Meta(ge=-100, le=100)]],
    Meta(extra_json_schema={"propertyNames": {"pattern": "^[0-9]{1,9}$"}}),
]
MAX_ANSWERS: Final = 8
_JSON: Final = json.dumps({"type": "object"})


class JsonSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None
    name: str | None = None


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class OpenAIRequest(OpenAIParameters, kw_only=True):
    """Request whose missing or null fields take the model's default. Other fields are ignored."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_ANSWERS)] | None = None
    logit_bias: LogitBias | None = None
    response_format: ResponseFormat | None = None
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None

    def check(self) -> None:
        """Raises ApiError for fields that contradict each other."""
        if self.stream_options is not None and not self.stream:
            raise ApiError("stream_options need stream to be true.", param="stream_options")
        ways = [self._format_schema is not None, self.json_schema is not None, bool(self.grammar)]
        if sum(ways) > 1:
            raise ApiError(
                "Give only one of response_format, json_schema and grammar.",
                param="grammar" if self.grammar else "json_schema",
            )

    @property
    def wants_usage(self) -> bool:
        """Tell whether the last chunk of a stream has the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def chosen(self) -> dict[str, Any]:
        """The generation parameters that the request has."""
        return chosen_in(self, "openai")

    @property
    def bias(self) -> tuple[tuple[int, float], ...]:
        """Raises ApiError."""
        try:
            return tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items())
        except ValueError:
            raise ApiError(
                "The keys of logit_bias must be token ids.", param="logit_bias"
            ) from None

    @property
    def schema(self) -> str | None:
        """Schema that the answer has to follow, as text. Raises ApiError."""
        if self.json_schema is not None:
            return json.dumps(self.json_schema)
        return self._format_schema

    @property
    def _format_schema(self) -> str | None:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        inner = wanted.json_schema.schema if wanted.json_schema is not None else None
        schema = wanted.schema if inner is None else inner
        if schema is None and wanted.type == "json_schema":
            raise ApiError("The schema is missing.", param="response_format.json_schema.schema")
        return _JSON if schema is None else json.dumps(schema)


# Responses. While tokens come they are written by hand, and this documents them.


class ErrorObject(msgspec.Struct):
    """message: a sentence for people; param: the field that is wrong; code: a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(msgspec.Struct):
    error: ErrorObject


class TokenLogprobObject(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class TokenObject(TokenLogprobObject):
    top_logprobs: list[TokenLogprobObject]


class ChatLogprobs(msgspec.Struct):
    content: list[TokenObject]
    refusal: str | None


class CalledFunctionObject(msgspec.Struct):
    """arguments: a JSON object as text, which follows the function's schema."""

    name: str
    arguments: str


class ToolCallObject(msgspec.Struct):
    id: str
    type: Literal["function"]
    function: CalledFunctionObject


class AssistantMessage(msgspec.Struct, omit_defaults=True):
    """content: null where the answer only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCallObject] | None = None


class ChatChoice(msgspec.Struct):
    """finish_reason: `length` when it was cut by max_tokens or the context window, `tool_calls`
    when it waits for results."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageObject


class TextLogprobs(msgspec.Struct):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(msgspec.Struct):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: UsageObject
