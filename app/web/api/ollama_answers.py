"""`/api/chat` and `/api/generate`, as programs made for Ollama know them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.errors import ApiError
from app.models.model import Turn
from app.web.api import bodies, streaming, wishes
from app.web.api.answer_request import all_tokens, random_seed, unlimited
from app.web.api.conversation import RoleName, ToolCall, turn
from app.web.api.ollama_loading import KeepAlive, load_or_unload, seconds_of, set_keep_alive
from app.web.api.ollama_replies import PARAM, OllamaReply, now

blueprint = Blueprint("api_ollama_answers", __name__, url_prefix="/api")

TokenId = Annotated[int, Meta(ge=0, lt=2**31)]


class OllamaOptions(msgspec.Struct):
    """What is left out is the model's default; options of Ollama that are not here are ignored."""

    num_predict: int | None = None
    num_ctx: Annotated[int, Meta(ge=-1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=5)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=5)] | None = None
    repeat_last_n: int | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class OllamaMessage(msgspec.Struct):
    role: RoleName
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    images: wishes.Unsupported | None = None


class OllamaRequest(msgspec.Struct, kw_only=True):
    model: str
    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    keep_alive: KeepAlive | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncate: bool | None = None


class OllamaChatRequest(OllamaRequest, kw_only=True):
    """No messages: the model is loaded, or with a keep_alive of 0 unloaded."""

    messages: list[OllamaMessage] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None


class OllamaGenerateRequest(OllamaRequest, kw_only=True):
    """No prompt: the model is loaded, or with a keep_alive of 0 unloaded."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    context: list[TokenId] | None = None
    suffix: str | None = None
    template: str | None = None
    images: wishes.Unsupported | None = None


@blueprint.post("/chat")
async def chat() -> Response:
    asked = await bodies.parse_body(OllamaChatRequest)
    if asked.tools and asked.tool_choice != "none":
        raise ApiError(f"{asked.model} does not support tools.", param="tools")
    if not asked.messages:
        return await _load_or_unload(asked, _chat_words)
    turns = tuple(_turn(message) for message in asked.messages)
    return await _answer(asked, replace(_to_generation(asked), turns=turns), _chat_words)


@blueprint.post("/generate")
async def generate() -> Response:
    asked = await bodies.parse_body(OllamaGenerateRequest)
    _check_generate(asked)
    if not asked.prompt:
        return await _load_or_unload(asked, _generate_words)
    if asked.raw or asked.suffix:
        generation = replace(_to_generation(asked), prompt=asked.prompt, suffix=asked.suffix or "")
    else:
        system = (Turn("system", asked.system),) if asked.system else ()
        turns = (*system, Turn("user", asked.prompt))
        before = tuple(asked.context or ())
        generation = replace(_to_generation(asked), turns=turns, before=before, tells_ids=True)
    return await _answer(asked, generation, _generate_words)


def _check_generate(asked: OllamaGenerateRequest) -> None:
    """Raises ApiError."""
    if asked.images:
        raise ApiError("The models that run here read text only, and no images.", param="images")
    if asked.template:
        raise ApiError(
            "The model's own template is used. Leave out “template”, or send the finished prompt"
            " with “raw”.",
            param="template",
        )
    if asked.raw and (asked.system or asked.context):
        raise ApiError("raw takes neither system nor context.", param="raw")
    if asked.suffix and asked.context:
        raise ApiError("suffix does not go with context.", param="suffix")


def _chat_words(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _generate_words(text: str) -> dict[str, Any]:
    return {"response": text}


def _turn(message: OllamaMessage) -> Turn:
    if message.images:
        raise ApiError("The models that run here read text only, and no images.", param="images")
    return turn(message.role, message.content or "", message.tool_calls or ())


def _to_generation(asked: OllamaRequest) -> wishes.GenerationRequest:
    options = asked.options or OllamaOptions()
    if asked.think:
        raise ApiError(f"{asked.model} does not support thinking.", param="think")
    predict = options.num_predict
    return wishes.GenerationRequest(
        model=wishes.model_name(asked.model),
        sampling={
            "temperature": options.temperature,
            "top_k": all_tokens(options.top_k),
            "top_p": options.top_p,
            "min_p": options.min_p,
            "seed": random_seed(options.seed),
            "repetition_penalty": options.repeat_penalty,
            "repetition_window": _window(options.repeat_last_n),
            "presence_penalty": options.presence_penalty,
            "frequency_penalty": options.frequency_penalty,
        },
        max_tokens=unlimited(predict or None),
        stop=wishes.parse_stop(options.stop),
        may_drop=asked.truncate is not False,
        may_cut=asked.truncate is not False,
        context=max(0, options.num_ctx or 0) or None,
        top_logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        schema=_schema(asked.format),
    )


def _window(last: int | None) -> int | None:
    """-1 is the whole context."""
    return unlimited(last)


def _schema(wanted: str | dict[str, Any] | None) -> str | None:
    if not wanted:
        return None
    return json.dumps({"type": "object"} if wanted == "json" else wanted)


async def _load_or_unload(asked: OllamaRequest, words: Callable[[str], dict[str, Any]]) -> Response:
    name = wishes.model_name(asked.model)
    reason = await streaming.while_allowed(load_or_unload(name, asked.keep_alive))
    content = {"model": asked.model, "created_at": now(), **words(""), "done": True}
    return bodies.json_response(content | {"done_reason": reason})


async def _answer(
    asked: OllamaRequest,
    generation: wishes.GenerationRequest,
    words: Callable[[str], dict[str, Any]],
) -> Response:
    stays = seconds_of(asked.keep_alive)
    completions = wishes.open_completions(generation.model, [wishes.to_command(generation)])
    reply = OllamaReply(completions, words, asked.model, request.path)
    streaming.start_with_connection(completions)
    set_keep_alive(generation.model, stays)
    if asked.stream is False:
        return bodies.json_response(await streaming.while_allowed(reply.whole()))
    await streaming.wait_first_event(completions, PARAM)
    return streaming.ndjson(reply.lines())
