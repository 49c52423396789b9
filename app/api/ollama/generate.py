"""`/api/chat` and `/api/generate`: Ollama's requests and replies, whole or streamed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.api import generation, http, pictures
from app.api.ollama.models import KeepAlive, load_or_unload, rfc3339, seconds_of, set_keep_alive
from app.api.parameters import OllamaParameters, chosen_in
from app.api.pictures import SentPicture, from_base64
from app.api.prompt_input import RoleName, SentToolCall, turn
from app.api.tools import BOTH_TOOLS_AND_RULES, NamedTool, OfferedTool, to_choice, to_specs
from app.errors import ApiError
from app.inference.completions import Completions
from app.inference.protocol import Delta, Failed, Finished, Generate, SampledToken, TokenLogprob
from app.inference.queue import Interrupted
from app.models.model import Turn
from app.models.text.thinking import Effort
from app.models.text.tool_formats import parse_arguments
from app.models.text.tools import ToolCall, ToolCallDelta, is_whole, join_calls
from app.web import errors

# Answers, whole or in lines while they are generated.


PARAM = "messages"
TextFields = Callable[[str, str, Sequence[ToolCall]], dict[str, Any]]
"""Makes the fields of a reply from the text of an answer, its thought, and its calls."""


@dataclass(slots=True)
class OllamaReply:
    """One answer; made before it begins, so that durations count from there."""

    completions: Completions
    fields: TextFields
    model: str
    path: str
    begun: float = field(default_factory=time.monotonic)

    async def whole(self) -> dict[str, Any]:
        """Raises ApiError."""
        deltas: list[Delta] = []
        while True:
            match await self._next():
                case Delta() as delta:
                    deltas.append(delta)
                case Finished() as finished:
                    return self._end(Delta.joined(deltas), finished)
                case Failed() | Interrupted() as failed:
                    raise errors.of_event(failed, PARAM)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        calls: list[ToolCallDelta] = []  # this protocol has whole ones
        try:
            while True:
                match await self._next():
                    case Delta() as delta:
                        calls += delta.calls
                        if delta.text or delta.thought or delta.tokens:
                            part = self._part(replace(delta, calls=()))
                            yield http.line(part | {"done": False})
                    case Finished() as finished:
                        if calls:
                            part = self._part(Delta(0, "", calls=tuple(calls)))
                            yield http.line(part | {"done": False})
                        yield http.line(self._end(Delta(0, ""), finished))
                        return
                    case Failed() | Interrupted() as failed:
                        error = errors.of_event(failed, PARAM)
                        yield http.line(errors.body(error, self.path))
                        return
        finally:
            self.completions.cancel()

    async def _next(self) -> object:
        event = await self.completions.next()
        return event[1] if event else None

    def _part(self, delta: Delta) -> dict[str, Any]:
        fields = self.fields(delta.text, delta.thought, join_calls(delta.calls))
        part = {"model": self.model, "created_at": now(), **fields}
        return part | ({"logprobs": _logprobs(delta.tokens)} if delta.tokens else {})

    def _end(self, whole: Delta, finished: Finished) -> dict[str, Any]:
        total = time.monotonic() - self.begun
        waited = max(0.0, total - finished.prefill_seconds - finished.decode_seconds)
        ids = {"context": list(finished.ids)} if finished.ids else {}
        return self._part(whole) | {
            **ids,
            "done": True,
            "done_reason": "length" if finished.reason == "length" else "stop",
            "total_duration": _nanoseconds(total),
            "load_duration": _nanoseconds(waited),  # in the queue, too
            "prompt_eval_count": finished.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(finished.prefill_seconds),
            "eval_count": finished.completion_tokens,
            "eval_duration": _nanoseconds(finished.decode_seconds),
        }


def _logprobs(tokens: Sequence[SampledToken]) -> list[dict[str, Any]]:
    return [_likely(t) | {"top_logprobs": [_likely(o) for o in t.others]} for t in tokens]


def _likely(token: TokenLogprob) -> dict[str, Any]:
    text = bytes(token.data).decode("utf-8", "replace")
    return {"token": text, "logprob": token.logprob, "bytes": list(token.data)}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def now() -> str:
    return rfc3339(time.time())


# `/api/chat` and `/api/generate`.


blueprint = Blueprint("api_ollama_answers", __name__, url_prefix="/api")

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]


class OllamaOptions(OllamaParameters):
    """Options; what is left out is the model's default, and Ollama's others are ignored."""


class OllamaMessage(msgspec.Struct):
    role: RoleName
    content: str | None = None
    tool_calls: list[SentToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    thinking: str | None = None
    images: list[str] | None = None


class OllamaRequest(msgspec.Struct, kw_only=True):
    model: str
    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    keep_alive: KeepAlive | None = None
    think: bool | Effort | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncate: bool | None = None


class OllamaChatRequest(OllamaRequest, kw_only=True):
    """No messages: the model is loaded, or with a keep_alive of 0 unloaded."""

    messages: list[OllamaMessage] | None = None
    tools: list[OfferedTool] | None = None
    tool_choice: str | NamedTool | None = None


class OllamaGenerateRequest(OllamaRequest, kw_only=True):
    """No prompt: the model is loaded, or with a keep_alive of 0 unloaded."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    context: list[TokenId] | None = None
    suffix: str | None = None
    template: str | None = None
    images: list[str] | None = None


class OllamaErrorResponse(msgspec.Struct):
    error: str


class OllamaFunctionObject(msgspec.Struct):
    name: str
    arguments: dict[str, Any]
    index: int


class OllamaCallObject(msgspec.Struct):
    id: str
    function: OllamaFunctionObject


class OllamaReplyMessage(msgspec.Struct, omit_defaults=True):
    role: Literal["assistant"]
    content: str
    tool_calls: list[OllamaCallObject] | None = None


class OllamaEnd(msgspec.Struct, kw_only=True):
    """Durations in nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    logprobs: list[Any] = []


class OllamaChatResponse(OllamaEnd, kw_only=True):
    message: OllamaReplyMessage


class OllamaGenerateResponse(OllamaEnd, kw_only=True):
    """context: to be sent with the next prompt, which then goes on from here."""

    response: str
    context: list[int] = []


@blueprint.post("/chat")
async def chat() -> Response:
    body = await http.parse_body(OllamaChatRequest)
    specs = to_specs(body.tools or ())
    choice = to_choice(body.tool_choice, specs)
    if body.format and specs and choice != "none":
        raise ApiError(BOTH_TOOLS_AND_RULES, param="format")
    if not body.messages:
        return await _load_or_unload(body, _chat_fields)
    turns = tuple(_turn(message) for message in body.messages)
    sent = [
        picture
        for number, message in enumerate(body.messages)
        for picture in _sent(message.images, number)
    ]
    command = Generate(0, turns, tools=specs, tool_choice=choice)
    return await _answer(body, command, _chat_fields, sent)


@blueprint.post("/generate")
async def generate() -> Response:
    body = await http.parse_body(OllamaGenerateRequest)
    _check_generate(body)
    if not body.prompt:
        return await _load_or_unload(body, _generate_fields)
    if body.raw or body.suffix:
        command = Generate(0, (), text=body.prompt, suffix=body.suffix or "")
    else:
        system = (Turn("system", body.system),) if body.system else ()
        turns = (*system, Turn("user", body.prompt))
        command = Generate(0, turns, before=tuple(body.context or ()), tells_ids=True)
    sent = _sent(body.images, len(command.turns) - 1)
    return await _answer(body, command, _generate_fields, sent)


def _sent(images: Sequence[str] | None, turn: int) -> list[SentPicture]:
    """Read the images of a message. Raises ApiError."""
    return [SentPicture(from_base64(one, "images"), turn, 0, "images") for one in images or ()]


def _check_generate(body: OllamaGenerateRequest) -> None:
    """Raises ApiError."""
    if body.images and (body.raw or body.suffix):
        raise ApiError("images go with neither raw nor suffix.", param="images")
    if body.template:
        raise ApiError(
            "The model's own template is used. Leave out “template”, or send the finished prompt"
            " with “raw”.",
            param="template",
        )
    if body.raw and (body.system or body.context):
        raise ApiError("raw takes neither system nor context.", param="raw")
    if body.suffix and body.context:
        raise ApiError("suffix does not go with context.", param="suffix")


def _chat_fields(text: str, thought: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    whole = [call for call in calls if is_whole(call)]  # the last one may have been cut
    called = [_call(number, call) for number, call in enumerate(whole)]
    message = {"role": "assistant", "content": text} | _thinking(thought)
    return {"message": message | ({"tool_calls": called} if called else {})}


def _call(number: int, call: ToolCall) -> dict[str, Any]:
    arguments = parse_arguments(call.arguments)
    function = {"index": number, "name": call.name, "arguments": arguments}
    return {"id": call.id, "function": function}


def _generate_fields(text: str, thought: str, _: Sequence[ToolCall]) -> dict[str, Any]:
    return {"response": text} | _thinking(thought)


def _thinking(thought: str) -> dict[str, str]:
    return {"thinking": thought} if thought else {}


def _turn(message: OllamaMessage) -> Turn:
    if message.images and message.role != "user":
        raise ApiError("Only a user's messages may have images.", param="images")
    made = turn(message.role, message.content or "", message.tool_calls or ())
    if made.role == "tool":
        made = replace(made, call_id=message.tool_call_id or "", tool=message.tool_name or "")
    return replace(made, thought=message.thinking or "")


def _to_command(body: OllamaRequest, command: Generate) -> Generate:
    """Make the command of a request. Raises ApiError."""
    may_cut = body.truncate is not False
    return generation.to_command(
        generation.model_name(body.model),
        chosen_in(body.options or OllamaOptions(), "ollama"),
        replace(
            command,
            allow_truncation=may_cut,
            may_cut=may_cut,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            schema=_schema(body.format),
            think=body.think if isinstance(body.think, bool) else None,
            effort=None if isinstance(body.think, bool) else body.think,
        ),
    )


def _schema(wanted: str | dict[str, Any] | None) -> str | None:
    if not wanted:
        return None
    return json.dumps({"type": "object"} if wanted == "json" else wanted)


async def _load_or_unload(body: OllamaRequest, fields: TextFields) -> Response:
    name = generation.model_name(body.model)
    reason = await http.while_allowed(load_or_unload(name, body.keep_alive))
    content = {"model": body.model, "created_at": now(), **fields("", "", ()), "done": True}
    return http.json_response(content | {"done_reason": reason})


async def _answer(
    body: OllamaRequest, command: Generate, fields: TextFields, sent: Sequence[SentPicture]
) -> Response:
    seconds, name = seconds_of(body.keep_alive), generation.model_name(body.model)
    made = _to_command(body, command)
    if sent:
        made = _to_command(body, await pictures.show(name, command, sent))
    completions = generation.open_completions(name, [made])
    pictures.hold(completions, made)
    reply = OllamaReply(completions, fields, body.model, request.path)
    http.start_with_connection(completions)
    set_keep_alive(name, seconds)
    if body.stream is False:
        return http.json_response(await http.while_allowed(reply.whole()))
    await http.wait_first_event(completions, PARAM)
    return http.ndjson(reply.lines())
