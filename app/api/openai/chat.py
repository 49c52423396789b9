"""`/v1/chat/completions`: the next answer of a conversation that the program keeps itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.api import generation, http
from app.api.openai.replies import CompletionResponse, reason_of
from app.api.openai.schemas import Count, OpenAIRequest
from app.api.prompt_input import RoleName, ToolCall, turn
from app.errors import ApiError
from app.inference.protocol import Delta, Finished, Generate, SampledToken, TokenLogprob
from app.models.model import Turn
from app.models.parameters import unlimited

blueprint = Blueprint("api_chat_completions", __name__)


class MessagePart(msgspec.Struct):
    """Part of a message. Only text is read."""

    type: Annotated[str, Meta(extra_json_schema={"enum": ["text"]})]
    text: str | None = None


class ChatMessage(msgspec.Struct):
    role: RoleName
    content: str | list[MessagePart] | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None


class TemplateOptions(msgspec.Struct):
    """Options for a chat template; of the options of other servers only these are understood."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ChatRequest(OpenAIRequest, kw_only=True):
    """Request whose missing or null fields take the model's default. Other fields are ignored."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    chat_template_kwargs: TemplateOptions | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None

    @property
    def wanted_tools(self) -> str:
        """The field with those that may be called; empty when none may."""
        if self.tools and self.tool_choice != "none":
            return "tools"
        return "functions" if self.functions and self.function_call != "none" else ""


@blueprint.post("/v1/chat/completions")
async def create() -> Response:
    body = await http.parse_body(ChatRequest)
    command = _to_command(body)
    name, count = generation.model_name(body.model), body.n or 1
    completions = generation.open_completions(name, generation.with_distinct_seeds(command, count))
    http.start_with_connection(completions)
    formatter = ChatFormatter()
    reply = CompletionResponse(completions, formatter, name, count, request.path, body.wants_usage)
    if not body.stream:
        return http.json_response(await http.while_allowed(reply.whole()))
    await http.wait_first_event(completions, formatter.param)
    return http.sse(reply.chunks())


def _to_command(body: ChatRequest) -> Generate:
    body.check()
    if param := body.wanted_tools:
        raise ApiError(
            "The models that run here cannot call tools. Leave the tools out, please.",
            param=param,
            code="unsupported_parameter",
        )
    if body.top_logprobs and not body.logprobs:
        raise ApiError("top_logprobs need logprobs to be true.", param="top_logprobs")
    return generation.to_command(
        generation.model_name(body.model),
        body.chosen | _max_tokens(body),
        Generate(
            id=0,
            turns=tuple(_turn(number, message) for number, message in enumerate(body.messages)),
            allow_truncation=False,
            bias=body.bias,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            schema=body.schema,
            grammar=body.grammar or None,
            think=_think(body.chat_template_kwargs),
        ),
    )


def _think(options: TemplateOptions | None) -> bool | None:
    if options is None:
        return None
    return options.thinking if options.enable_thinking is None else options.enable_thinking


def _max_tokens(body: ChatRequest) -> dict[str, int]:
    """The newer name goes before the older. Raises ApiError."""
    name = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    tokens: int | None = getattr(body, name)
    if tokens == 0:
        raise ApiError(f"{name} must be at least 1, or -1 for no limit.", param=name)
    return {} if tokens is None else {"max_tokens": unlimited(tokens)}


def _turn(number: int, message: ChatMessage) -> Turn:
    calls = message.tool_calls or ()
    made = turn(message.role, _text(number, message), calls, param=f"messages[{number}].role")
    return replace(made, thought=message.reasoning_content or "")


def _text(number: int, message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for place, part in enumerate(message.content):
        if part.type != "text":
            raise ApiError(
                f"The models that run here read text only, and no “{part.type}”.",
                param=f"messages[{number}].content[{place}]",
                code="unsupported_content",
            )
    return "\n".join(part.text or "" for part in message.content)


class ChatFormatter:
    """Formatter of this protocol's answers."""

    param = "messages"
    id_prefix = "chatcmpl-"
    whole, part = "chat.completion", "chat.completion.chunk"

    def begin(self, index: int) -> dict[str, Any]:
        return self._chunk(index, {"role": "assistant", "content": ""})

    def delta(self, index: int, delta: Delta) -> dict[str, Any]:
        content = {"content": delta.text} if delta.text or not delta.thought else {}
        if delta.thought:
            content["reasoning_content"] = delta.thought
        return self._chunk(index, content) | {"logprobs": logprobs_of(delta.tokens)}

    def end(self, index: int, finished: Finished) -> dict[str, Any]:
        return self._chunk(index, {}) | {"finish_reason": reason_of(finished)}

    def choice(self, index: int, whole: Delta, finished: Finished) -> dict[str, Any]:
        thought = {"reasoning_content": whole.thought} if whole.thought else {}
        return {
            "index": index,
            "message": {"role": "assistant", "content": whole.text, "refusal": None} | thought,
            "logprobs": logprobs_of(whole.tokens),
            "finish_reason": reason_of(finished),
        }

    def _chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def logprobs_of(tokens: Sequence[SampledToken]) -> dict[str, Any] | None:
    if not tokens:
        return None
    content = [_likely(t) | {"top_logprobs": [_likely(o) for o in t.others]} for t in tokens]
    return {"content": content, "refusal": None}


def _likely(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": bytes(token.data).decode("utf-8", "replace"),
        "logprob": token.logprob,
        "bytes": list(token.data),
    }
