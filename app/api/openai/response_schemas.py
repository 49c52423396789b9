"""Shapes of `/v1/responses`: the fields of requests, and the documented responses."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from app.api.openai.schemas import ErrorObject
from app.api.parameters import ResponsesParameters, chosen_in
from app.errors import ApiError
from app.models.text.thinking import Effort

MAX_ITEMS: Final = 4096
MAX_METADATA: Final = 16
LOGPROBS: Final = "message.output_text.logprobs"
ENCRYPTED: Final = "reasoning.encrypted_content"


class InputPart(msgspec.Struct, omit_defaults=True):
    """Part of an item: `input_text`, `output_text`, `input_image`, or text of a thought."""

    type: str
    text: str | None = None
    image_url: str | None = None
    refusal: str | None = None


class InputItem(msgspec.Struct, omit_defaults=True):
    """Item of a conversation. `type` says which fields it has: `message` (also when it is missing),
    `reasoning`, `function_call`, `function_call_output` or `item_reference`."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[InputPart] | None = None
    summary: list[InputPart] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None
    status: str | None = None


class ReasoningConfig(msgspec.Struct, omit_defaults=True):
    """summary: thoughts come as summaries, which they are not, for programs that read those
    alone."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class TextFormat(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class TextConfig(msgspec.Struct, omit_defaults=True):
    """format: JSON that follows a schema; no other token can be chosen."""

    format: TextFormat | None = None
    verbosity: str | None = None


class ResponsesTool(msgspec.Struct, omit_defaults=True):
    """Function that the model may call. parameters: the JSON schema of its arguments. Tools of
    other types are those of OpenAI's servers, and passed over."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponsesToolChoice(msgspec.Struct, omit_defaults=True):
    """The one function to call, or those that may be (`allowed_tools`)."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[ResponsesTool] | None = None


class ResponsesRequest(ResponsesParameters, kw_only=True):
    """Request whose missing or null fields take the model's default. Other fields are ignored."""

    model: str
    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Meta(max_length=64)],
                Annotated[str, Meta(max_length=512)],
            ],
            Meta(max_length=MAX_METADATA),
        ]
        | None
    ) = None
    tools: list[ResponsesTool] | None = None
    tool_choice: str | ResponsesToolChoice | None = None
    parallel_tool_calls: bool | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None

    def check(self) -> None:
        """Raises ApiError for what is not there."""
        unknown = ("background", "conversation", "prompt")
        if name := next((name for name in unknown if getattr(self, name)), ""):
            raise ApiError(
                f"Wick doesn't support {name} here. Leave it out, please.",
                param=name,
                code="unsupported_parameter",
            )
        if self.max_output_tokens == 0:
            raise ApiError("max_output_tokens must be at least 1.", param="max_output_tokens")

    @property
    def is_stored(self) -> bool:
        return self.store is not False

    @property
    def included(self) -> frozenset[str]:
        return frozenset(self.include or ())

    @property
    def logprobs(self) -> int | None:
        """Number of likely tokens to return beside each; None without log probabilities."""
        if self.top_logprobs:
            return self.top_logprobs
        return 0 if LOGPROBS in self.included else None

    @property
    def chosen(self) -> dict[str, Any]:
        """The generation parameters that the request has."""
        return chosen_in(self, "responses")

    @property
    def schema(self) -> str | None:
        """Schema that the answer has to follow, as text. Raises ApiError."""
        wanted = self.text.format if self.text is not None else None
        if wanted is None or wanted.type == "text":
            return None
        if wanted.schema is None and wanted.type == "json_schema":
            raise ApiError("The schema is missing.", param="text.format.schema")
        return json.dumps({"type": "object"} if wanted.schema is None else wanted.schema)


# Responses. While tokens come they are written by hand, and this documents them.


class OutputPart(msgspec.Struct):
    type: Literal["output_text", "reasoning_text", "summary_text"]
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class OutputItem(msgspec.Struct):
    """Item of an answer: `message`, `reasoning` or `function_call`."""

    id: str
    type: Literal["message", "reasoning", "function_call"]
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] | None = None
    content: list[OutputPart] | None = None
    summary: list[OutputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class ResponseUsage(msgspec.Struct):
    """cached_tokens: those of the prompt that were still in memory from an earlier request."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(msgspec.Struct):
    reason: Literal["max_output_tokens"]


class ResponseObject(msgspec.Struct):
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None
    error: ErrorObject | None = None
    incomplete_details: IncompleteDetails | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] = {}
    store: bool = True


class InputItemList(msgspec.Struct):
    """Items of a conversation up to a response, newest first."""

    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool = False
    object: Literal["list"] = "list"


class ResponseDeleted(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["response"] = "response"


class InputTokens(msgspec.Struct):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"
