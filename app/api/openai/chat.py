"""`/v1/chat/completions`: the next answer of a conversation that the program keeps itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.api import generation, http, pictures
from app.api.openai.file_input import MAX_FILES, FileInput, read_file_input
from app.api.openai.replies import CompletionResponse, reason_of
from app.api.openai.schemas import Count, OpenAIRequest
from app.api.pictures import SentPicture, from_audio, from_url
from app.api.prompt_input import RoleName, SentToolCall, turn
from app.api.tools import BOTH_TOOLS_AND_RULES, NamedTool, OfferedTool, to_choice, to_specs
from app.errors import ApiError
from app.inference.protocol import Delta, Finished, Generate, SampledToken, TokenLogprob
from app.models.model import Turn
from app.models.parameters import unlimited
from app.models.text.tools import ToolCall, ToolCallDelta, join_calls, merge_deltas

blueprint = Blueprint("api_chat_completions", __name__)


class ImageUrl(msgspec.Struct):
    """url: a data URL, or an address where WICK_FETCH_PICTURES allows it."""

    url: str


class InputAudio(msgspec.Struct):
    """data: the file in base64; format: `wav` or `mp3`."""

    data: str
    format: str = "wav"


_PARTS: Final = ("text", "image_url", "input_audio", "file")


class MessagePart(msgspec.Struct):
    """Part of a message: text, a file with text, a picture for models that see, or sound for models
    that hear."""

    type: Annotated[str, Meta(extra_json_schema={"enum": list(_PARTS)})]
    text: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: FileInput | None = None


class ChatMessage(msgspec.Struct):
    role: RoleName
    content: str | list[MessagePart] | None = None
    tool_calls: list[SentToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
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
    tools: list[OfferedTool] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None

    def check_tools(self) -> None:
        """Raises ApiError for tools that cannot be offered in this way."""
        if self.functions and self.function_call != "none":
            raise ApiError(
                "functions are out of date: send tools instead.",
                param="functions",
                code="unsupported_parameter",
            )
        if not self.tools or self.tool_choice == "none":
            return
        if self.schema is not None or self.grammar:
            raise ApiError(
                BOTH_TOOLS_AND_RULES,
                param="grammar" if self.grammar else "response_format",
            )


@blueprint.post("/v1/chat/completions")
async def create() -> Response:
    body = await http.parse_body(ChatRequest)
    name, count = generation.model_name(body.model), body.n or 1
    await _read_files(body)
    command = await _to_command(body, name)
    completions = generation.open_completions(name, generation.with_distinct_seeds(command, count))
    pictures.hold(completions, command)
    http.start_with_connection(completions)
    formatter = ChatFormatter()
    reply = CompletionResponse(completions, formatter, name, count, request.path, body.wants_usage)
    if not body.stream:
        return http.json_response(await http.while_allowed(reply.whole()))
    await http.wait_first_event(completions, formatter.param)
    return http.sse(reply.chunks())


async def _read_files(body: ChatRequest) -> None:
    """Put the texts of files in the places of their parts. Raises ApiError."""
    count = 0
    for number, message in enumerate(body.messages):
        parts = message.content if isinstance(message.content, list) else []
        for place, part in enumerate(parts):
            if part.type != "file" or part.file is None:
                continue
            param = f"messages[{number}].content[{place}].file"
            if (count := count + 1) > MAX_FILES:
                raise ApiError(f"Send at most {MAX_FILES} files at once.", param=param)
            part.text, part.type = await read_file_input(part.file, param), "text"


async def _to_command(body: ChatRequest, name: str) -> Generate:
    """Raises ApiError."""
    plain, sent = plain_command(body, name)
    if not sent:
        return plain
    # Again with the pictures: what is wrong with the rest costs no decoding.
    shown = await pictures.show(name, _generate(body, _turns(body, [])), sent)
    return generation.to_command(name, body.chosen | _max_tokens(body), shown)


def plain_command(body: ChatRequest, name: str) -> tuple[Generate, list[SentPicture]]:
    """The command without its pictures, and those. Raises ApiError."""
    body.check()
    body.check_tools()
    if body.top_logprobs and not body.logprobs:
        raise ApiError("top_logprobs need logprobs to be true.", param="top_logprobs")
    sent = list[SentPicture]()
    wanted = _generate(body, _turns(body, sent))
    return generation.to_command(name, body.chosen | _max_tokens(body), wanted), sent


def _generate(body: ChatRequest, turns: tuple[Turn, ...]) -> Generate:
    specs = to_specs(body.tools or ())
    return Generate(
        id=0,
        turns=turns,
        tools=specs,
        tool_choice=to_choice(body.tool_choice, specs),
        parallel_tool_calls=body.parallel_tool_calls is not False,
        allow_truncation=False,
        bias=body.bias,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        schema=body.schema,
        grammar=body.grammar or None,
        think=_think(body.chat_template_kwargs),
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


def _turns(body: ChatRequest, sent: list[SentPicture]) -> tuple[Turn, ...]:
    """Make turns of the messages; their pictures are added to `sent`. Raises ApiError."""
    return tuple(_turn(number, message, sent) for number, message in enumerate(body.messages))


def _turn(number: int, message: ChatMessage, sent: list[SentPicture]) -> Turn:
    calls, text = message.tool_calls or (), _text(number, message, sent)
    made = turn(message.role, text, calls, param=f"messages[{number}].role")
    if message.role != "user" and any(picture.turn == number for picture in sent):
        raise ApiError(
            "Only a user's messages may have pictures and sound.",
            param=f"messages[{number}].content",
        )
    if made.role == "tool":
        made = replace(made, call_id=message.tool_call_id or "", tool=message.name or "")
    return replace(made, thought=message.reasoning_content or "")


def _text(number: int, message: ChatMessage, sent: list[SentPicture]) -> str:
    """Join the parts of text; pictures between them are added to `sent`."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    text = ""
    for place, part in enumerate(message.content):
        param = f"messages[{number}].content[{place}]"
        if part.type == "image_url" and part.image_url is not None:
            url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
            sent.append(from_url(url, number, len(text), param))
        elif part.type == "input_audio" and part.input_audio is not None:
            sent.append(from_audio(part.input_audio.data, number, len(text), param))
        elif part.type == "text":
            text += ("\n" if text else "") + (part.text or "")
        else:
            raise ApiError(
                "Models here take text, pictures (image_url) and sound (input_audio), and no "
                f"“{part.type}”.",
                param=param,
                code="unsupported_content",
            )
    return text


class ChatFormatter:
    """Formatter of this protocol's answers."""

    param = "messages"
    id_prefix = "chatcmpl-"
    whole, part = "chat.completion", "chat.completion.chunk"

    def begin(self, index: int) -> dict[str, Any]:
        return self._chunk(index, {"role": "assistant", "content": ""})

    def delta(self, index: int, delta: Delta) -> dict[str, Any]:
        is_text = delta.text or not (delta.thought or delta.calls)
        content: dict[str, Any] = {"content": delta.text} if is_text else {}
        if delta.thought:
            content["reasoning_content"] = delta.thought
        if delta.calls:
            content["tool_calls"] = [call_delta(call) for call in merge_deltas(delta.calls)]
        return self._chunk(index, content) | {"logprobs": logprobs_of(delta.tokens)}

    def end(self, index: int, finished: Finished) -> dict[str, Any]:
        return self._chunk(index, {}) | {"finish_reason": reason_of(finished)}

    def choice(self, index: int, whole: Delta, finished: Finished) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": whole.text, "refusal": None}
        if whole.thought:
            message["reasoning_content"] = whole.thought
        if calls := join_calls(whole.calls):
            message |= {"content": whole.text or None, "tool_calls": list(map(call_object, calls))}
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs_of(whole.tokens),
            "finish_reason": reason_of(finished),
        }

    def _chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def call_object(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def call_delta(call: ToolCallDelta) -> dict[str, Any]:
    """More of a call. Programs join what comes, so id and name come once."""
    if not call.name:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    whole = call_object(ToolCall(call.id, call.name, call.arguments))
    return {"index": call.index, **whole}


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
