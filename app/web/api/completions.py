"""`/v1/completions`: how a text goes on, without a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from quart import Blueprint, Response, request

from app.errors import ApiError
from app.inference.protocol import Finished, Likely, Token
from app.web.api import bodies, streaming, wishes
from app.web.api.answer_request import AnswerRequest
from app.web.api.replies import Reply, reason_of

blueprint = Blueprint("api_completions", __name__)
MOST_PROMPTS = 8
USUAL_TOKENS = 16
"""Of an answer for which no length is given, as this protocol has it."""


class CompletionRequest(AnswerRequest, kw_only=True):
    """What is left out, or null, is the model's default. Fields that are not here are ignored."""

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=MOST_PROMPTS)]
    best_of: int | None = None
    echo: bool | None = None
    suffix: Annotated[str, Meta(extra_json_schema={"maxLength": 0})] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


@blueprint.post("/v1/completions")
async def create() -> Response:
    asked = await bodies.read(CompletionRequest)
    _check(asked)
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    name, each = wishes.model_name(asked.model), asked.n or 1
    commands = [
        command
        for prompt in prompts
        for command in wishes.several(wishes.command(_wish(asked, prompt)), each)
    ]
    completions = wishes.completions(name, commands)
    streaming.begin(completions)
    echoed = [prompt for prompt in prompts for _ in range(each)] if asked.echo else None
    words, count = TextWords(echoed), len(commands)
    reply = Reply(completions, words, name, count, request.path, asked.wants_usage, len(prompts))
    if not asked.stream:
        return bodies.answer(await reply.whole())
    await streaming.opened(completions)
    return streaming.sse(reply.chunks())


def _check(asked: CompletionRequest) -> None:
    """Raises ApiError for what cannot be done here."""
    if asked.suffix:
        raise ApiError("Text cannot be filled in before a suffix here.", param="suffix")
    if asked.best_of is not None and asked.best_of != (asked.n or 1):
        raise ApiError("best_of must be the same as n.", param="best_of")
    if asked.echo and asked.logprobs is not None:
        raise ApiError("logprobs are of the answer only, so echo must be off.", param="echo")


def _wish(asked: CompletionRequest, prompt: str) -> wishes.Wish:
    return wishes.Wish(
        model=wishes.model_name(asked.model),
        text=prompt,
        sampling=asked.sampling,
        max_tokens=asked.max_tokens or USUAL_TOKENS,
        stop=wishes.stops(asked.stop),
        bias=asked.bias,
        top_logprobs=asked.logprobs,
        schema=asked.schema,
    )


class TextWords:
    """How an answer is called in this protocol. `echoed`: what stands before each of them."""

    id_prefix = "cmpl-"
    whole = part = "text_completion"

    def __init__(self, echoed: Sequence[str] | None) -> None:
        self._echoed = echoed

    def begin(self, index: int) -> dict[str, Any]:
        return self._choice(index, self._echoed[index]) if self._echoed else {}

    def more(self, index: int, text: str, tokens: Sequence[Token]) -> dict[str, Any]:
        return self._choice(index, text) | {"logprobs": logprobs_of(tokens)}

    def end(self, index: int, finished: Finished) -> dict[str, Any]:
        return self._choice(index, "") | {"finish_reason": reason_of(finished)}

    def choice(
        self, index: int, text: str, tokens: Sequence[Token], finished: Finished
    ) -> dict[str, Any]:
        whole = (self._echoed[index] if self._echoed else "") + text
        made = self._choice(index, whole) | {"logprobs": logprobs_of(tokens)}
        return made | {"finish_reason": reason_of(finished)}

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}


def logprobs_of(tokens: Sequence[Token]) -> dict[str, Any] | None:
    if not tokens:
        return None
    offsets, offset = [], 0
    for token in tokens:
        offsets.append(offset)
        offset += len(_text(token))
    return {
        "tokens": [_text(token) for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{_text(o): o.logprob for o in token.others} for token in tokens],
        "text_offset": offsets,
    }


def _text(token: Likely) -> str:
    return bytes(token.data).decode("utf-8", "replace")
