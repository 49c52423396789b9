"""`/v1/completions`: how a text goes on, without a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from msgspec import Meta
from quart import Blueprint, Response, request

from app.api import generation, http
from app.api.openai.replies import CompletionResponse, reason_of
from app.api.openai.schemas import OpenAIRequest
from app.api.prompt_input import Prompt, Several, prompts
from app.errors import ApiError
from app.inference.protocol import Delta, Finished, Generate, SampledToken, TokenLogprob

blueprint = Blueprint("api_completions", __name__)
MAX_BEST_OF: Final = 20
DEFAULT_TOKENS: Final = 16
"""Length of an answer for which none is given, as in OpenAI's API."""


class CompletionRequest(OpenAIRequest, kw_only=True):
    """Request whose missing or null fields take the model's default. Other fields are ignored."""

    prompt: str | Several
    best_of: Annotated[int, Meta(ge=1, le=MAX_BEST_OF)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


@blueprint.post("/v1/completions")
async def create() -> Response:
    body = await http.parse_body(CompletionRequest)
    given = prompts(body.prompt, "prompt")
    _check(body, given)
    name, each = generation.model_name(body.model), body.n or 1
    tries = max(each, body.best_of or each)
    default = _to_command(body)
    commands = [
        command
        for prompt in given
        for command in generation.with_distinct_seeds(
            _with(default, prompt, echo=bool(body.echo)), tries
        )
    ]
    completions = generation.open_completions(name, commands)
    http.start_with_connection(completions)
    echoed = [prompt for prompt in given for _ in range(each)] if body.echo else None
    formatter = TextFormatter(echoed, tells=body.logprobs is not None)
    reply = CompletionResponse(
        completions,
        formatter,
        name,
        len(commands),
        request.path,
        body.wants_usage,
        prompts=len(given),
        best=each if tries > each else None,
    )
    if not body.stream:
        return http.json_response(await http.while_allowed(reply.whole()))
    await http.wait_first_event(completions, formatter.param)
    return http.sse(reply.chunks())


def _check(body: CompletionRequest, given: Sequence[Prompt]) -> None:
    """Raises ApiError for what cannot be done."""
    body.check()
    if not given:
        raise ApiError("prompt must not be an empty list.", param="prompt")
    if body.max_tokens == 0 and not body.echo:
        raise ApiError("max_tokens can be 0 only with echo; -1 is no limit.", param="max_tokens")
    if body.suffix and (body.echo or not all(isinstance(prompt, str) for prompt in given)):
        raise ApiError("A suffix goes with texts, and without echo.", param="suffix")
    if body.best_of is not None and body.best_of < (body.n or 1):
        raise ApiError("best_of must not be less than n.", param="best_of")
    if body.stream and (body.best_of or 1) > (body.n or 1):
        raise ApiError("The best of several answers cannot be streamed.", param="best_of")
    if body.stream and body.echo and not all(isinstance(prompt, str) for prompt in given):
        raise ApiError("The echo of token ids cannot be streamed.", param="echo")


def _with(default: Generate, prompt: Prompt, *, echo: bool) -> Generate:
    """Copy the request for a prompt. The text of ids is only sent with their likelihoods."""
    if isinstance(prompt, str):
        return replace(default, text=prompt)
    made = replace(default, before=prompt)
    if not echo:
        return made
    return replace(made, tells_prompt=True, top_logprobs=default.top_logprobs or 0)


def _to_command(body: CompletionRequest) -> Generate:
    is_chosen = (body.best_of or 1) > (body.n or 1)
    return generation.to_command(
        generation.model_name(body.model),
        {"max_tokens": DEFAULT_TOKENS} | body.chosen,
        Generate(
            id=0,
            turns=(),
            text="",
            suffix=body.suffix or "",
            allow_truncation=False,
            bias=body.bias,
            top_logprobs=0 if body.logprobs is None and is_chosen else body.logprobs,
            schema=body.schema,
            grammar=body.grammar or None,
            tells_prompt=bool(body.echo) and body.logprobs is not None,
        ),
    )


class TextFormatter:
    """Formatter of this protocol's answers. `echoed`: what stands before each of them; `tells`:
    how likely its tokens were."""

    param = "prompt"
    id_prefix = "cmpl-"
    whole = part = "text_completion"

    def __init__(self, echoed: Sequence[Prompt] | None, *, tells: bool) -> None:
        self._echoed = echoed
        self._tells = tells
        self._offsets: dict[int, int] = {}

    def begin(self, index: int) -> dict[str, Any]:
        return self._choice(index, self._echo(index, (), 0)) if self._echoed else {}

    def delta(self, index: int, delta: Delta) -> dict[str, Any]:
        return self._choice(index, delta.text) | {"logprobs": self._logprobs(index, delta.tokens)}

    def end(self, index: int, finished: Finished) -> dict[str, Any]:
        return self._choice(index, "") | {"finish_reason": reason_of(finished)}

    def choice(self, index: int, whole: Delta, finished: Finished) -> dict[str, Any]:
        text = self._echo(index, whole.tokens, finished.prompt_tokens) + whole.text
        made = self._choice(index, text) | {"logprobs": self._logprobs(index, whole.tokens)}
        return made | {"finish_reason": reason_of(finished)}

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}

    def _echo(self, index: int, tokens: Sequence[SampledToken], prompt_tokens: int) -> str:
        """The prompt as text; of token ids, only the returned tokens have it."""
        echoed = self._echoed[index] if self._echoed else ""
        if isinstance(echoed, str):
            return echoed
        data = b"".join(bytes(token.data) for token in tokens[:prompt_tokens])
        return data.decode("utf-8", "replace")

    def _logprobs(self, index: int, tokens: Sequence[SampledToken]) -> dict[str, Any] | None:
        """Format the likelihoods of tokens that follow those sent before."""
        if not tokens or not self._tells:
            return None
        offsets, offset = [], self._offsets.get(index, 0)
        for token in tokens:
            offsets.append(offset)
            offset += len(_text(token))
        self._offsets[index] = offset
        return {
            "tokens": [_text(token) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [_top(token) for token in tokens],
            "text_offset": offsets,
        }


def _top(token: SampledToken) -> dict[str, float | None] | None:
    """Map texts to log probabilities, of the likeliest token each; None for a prompt's first."""
    if token.logprob is None:
        return None
    return {_text(other): other.logprob for other in reversed(token.others)}


def _text(token: TokenLogprob) -> str:
    return bytes(token.data).decode("utf-8", "replace")
