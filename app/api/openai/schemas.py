"""Responses of `/v1`, documented: while tokens come they are written by hand."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.api.openai.replies import UsageObject


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


class AssistantMessage(msgspec.Struct):
    role: Literal["assistant"]
    content: str
    refusal: str | None


class ChatChoice(msgspec.Struct):
    """finish_reason: `length` when it was cut by max_tokens or the context window."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


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
