"""Errors as programs read them: a status, and a body in the words of the protocol they speak."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from quart import Response
from werkzeug.exceptions import HTTPException, NotFound

from app.errors import (
    ApiError,
    LimitReached,
    ModelNotFound,
    NotLoggedIn,
    PromptTooLong,
    QueueFull,
    SchemaRefused,
    WickError,
)
from app.inference.protocol import Failed
from app.inference.requests import Interrupted
from app.web.api.paths import is_ollama_path
from app.web.http_sentences import http_error_message

RETRY_SECONDS = 5
"""After which a program may try again, where nobody knows better."""
_ADMIN_PATHS = {f"/api/{verb}" for verb in ("pull", "push", "create", "copy", "delete")}
"""What Ollama has, and Wick leaves to its page."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES: dict[type[WickError], str] = {
    ModelNotFound: "model_not_found",
    PromptTooLong: "context_length_exceeded",
    SchemaRefused: "invalid_schema",
    QueueFull: "queue_full",
    LimitReached: "rate_limit_exceeded",
    NotLoggedIn: "invalid_api_key",
}


def of_event(event: Failed | Interrupted, param: str) -> ApiError:
    """What an answer ended with instead of a text."""
    if isinstance(event, Interrupted) and event.finished is not None:
        return ApiError(event.message, status=429, code=_CODES[LimitReached])
    if isinstance(event, Interrupted):
        return ApiError(event.message, status=503, code="interrupted")
    if event.status == PromptTooLong.status:
        return _too_long(event.message, event.prompt_tokens, event.context_length, param)
    status = 400 if event.status == 422 else event.status
    return ApiError(event.message, status=status)


def _too_long(sentence: str, asked: int, limit: int, param: str) -> ApiError:
    """In the words that programs look for, when they shorten a conversation by themselves."""
    if limit and asked:
        sentence = (
            f"This model's maximum context length is {limit} tokens. However, your {param} resulted"
            f" in {asked} tokens. Please reduce the length of the {param}."
        )
    elif limit:
        sentence = f"This model's maximum context length is {limit} tokens. {sentence}"
    return ApiError(sentence, status=400, param=param, code=_CODES[PromptTooLong])


def of_http(error: HTTPException, path: str) -> ApiError:
    """What was wrong with a request before anything of ours saw it."""
    text = http_error_message(error, path)
    if error.description == NotFound.description:
        text = "There is nothing at this address. What there is: /docs/api"
        if path in _ADMIN_PATHS:
            text = "Models are brought, made and removed on Wick's own page, or by “wick models”."
    return ApiError(text, status=error.code or 500)


def as_api_error(error: WickError) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PromptTooLong):
        return _too_long(str(error), error.prompt_tokens, error.context_length, "messages")
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    param = "model" if isinstance(error, ModelNotFound) else None
    again = getattr(error, "retry_after", None)
    return ApiError(str(error), status=error.status, param=param, code=code, retry_after=again)


def body(error: ApiError, path: str) -> dict[str, Any]:
    if is_ollama_path(path):
        return {"error": str(error)}
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else None)
    return {
        "error": {
            "message": str(error),
            "type": kind or "invalid_request_error",
            "param": error.param,
            "code": error.code,
        }
    }


def respond(error: ApiError, path: str) -> Response:
    content = msgspec.json.encode(body(error, path))
    response = Response(content, status=error.status, content_type="application/json")
    if error.status in {429, 503}:
        again = RETRY_SECONDS if error.retry_after is None else error.retry_after
        response.headers["Retry-After"] = str(max(1, math.ceil(again)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Wick"'
    return response
