"""`/api/chat` and `/api/generate`, as programs made for Ollama know them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.errors import ApiError
from app.models.model import Turn
from app.web.api import bodies, streaming, wishes
from app.web.api.ollama_loading import KeepAlive, keep, load_or_unload, seconds_of
from app.web.api.ollama_replies import OllamaReply, now

blueprint = Blueprint("api_ollama_answers", __name__, url_prefix="/api")


class Options(msgspec.Struct):
    """What is left out is the model's default; options of Ollama that are not here are ignored."""

    num_predict: int | None = None
    num_ctx: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=5)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=5)] | None = None
    repeat_last_n: int | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class OllamaMessage(msgspec.Struct):
    role: wishes.RoleName
    content: str | None = None
    images: wishes.Refused | None = None


class Common(msgspec.Struct, kw_only=True):
    model: str
    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    truncate: bool | None = None


class OllamaChatRequest(Common, kw_only=True):
    """No messages: the model is loaded, or with a keep_alive of 0 unloaded."""

    messages: list[OllamaMessage] | None = None
    tools: wishes.Refused | None = None


class OllamaGenerateRequest(Common, kw_only=True):
    """No prompt: the model is loaded, or with a keep_alive of 0 unloaded."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    images: wishes.Refused | None = None


@blueprint.post("/chat")
async def chat() -> Response:
    asked = await bodies.read(OllamaChatRequest)
    if asked.tools:
        raise ApiError(f"{asked.model} does not support tools.", param="tools")
    if not asked.messages:
        return await _asked_nothing(asked, _chat_words)
    turns = tuple(_turn(message) for message in asked.messages)
    return await _answer(asked, _wish(asked, turns=turns), _chat_words)


@blueprint.post("/generate")
async def generate() -> Response:
    asked = await bodies.read(OllamaGenerateRequest)
    for name in ("suffix", "template", "images"):
        if getattr(asked, name):
            raise ApiError(f"The models that run here do not support “{name}”.", param=name)
    if not asked.prompt:
        return await _asked_nothing(asked, _generate_words)
    if asked.raw:
        wish = _wish(asked, text=asked.prompt)
    else:
        system = (Turn("system", asked.system),) if asked.system else ()
        wish = _wish(asked, turns=(*system, Turn("user", asked.prompt)))
    return await _answer(asked, wish, _generate_words)


def _chat_words(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _generate_words(text: str) -> dict[str, Any]:
    return {"response": text}


def _turn(message: OllamaMessage) -> Turn:
    if message.images:
        raise ApiError("The models that run here read text only, and no images.", param="images")
    if message.role not in wishes.ROLES:
        raise ApiError(
            f"A message cannot be by “{message.role}”; it is by {', '.join(wishes.ROLES)}.",
            param="messages",
        )
    return Turn(wishes.ROLES[message.role], message.content or "")


def _wish(asked: Common, *, turns: tuple[Turn, ...] = (), text: str | None = None) -> wishes.Wish:
    options = asked.options or Options()
    if asked.think:
        raise ApiError(f"{asked.model} does not support thinking.", param="think")
    predict = options.num_predict
    return wishes.Wish(
        model=wishes.model_name(asked.model),
        turns=turns,
        text=text,
        sampling={
            "temperature": options.temperature,
            "top_k": options.top_k,
            "top_p": options.top_p,
            "min_p": options.min_p,
            "seed": options.seed,
            "repetition_penalty": options.repeat_penalty,
            "repetition_window": _window(options.repeat_last_n),
            "presence_penalty": options.presence_penalty,
            "frequency_penalty": options.frequency_penalty,
        },
        max_tokens=wishes.UNLIMITED if predict is not None and predict < 0 else predict,
        stop=wishes.stops(options.stop),
        may_drop=asked.truncate is not False,
        context=options.num_ctx,
        top_logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        schema=_schema(asked.format),
    )


def _window(last: int | None) -> int | None:
    """-1 is the whole context."""
    return wishes.UNLIMITED if last is not None and last < 0 else last


def _schema(wanted: str | dict[str, Any] | None) -> str | None:
    if not wanted:
        return None
    return json.dumps({"type": "object"} if wanted == "json" else wanted)


async def _asked_nothing(asked: Common, words: Callable[[str], dict[str, Any]]) -> Response:
    reason = await load_or_unload(wishes.model_name(asked.model), asked.keep_alive)
    content = {"model": asked.model, "created_at": now(), **words(""), "done": True}
    return bodies.answer(content | {"done_reason": reason})


async def _answer(
    asked: Common, wish: wishes.Wish, words: Callable[[str], dict[str, Any]]
) -> Response:
    stays = seconds_of(asked.keep_alive)
    completions = wishes.completions(wish.model, [wishes.command(wish)])
    reply = OllamaReply(completions, words, asked.model, request.path)
    streaming.begin(completions)
    keep(wish.model, stays)
    if asked.stream is False:
        return bodies.answer(await reply.whole())
    await streaming.opened(completions)
    return streaming.ndjson(reply.lines())
