"""Errors as sentences: a page, a notice, plain text, or JSON in the protocol of the program."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

import msgspec
from quart import Quart, Response, has_request_context, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

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
from app.inference.queue import Interrupted
from app.logs.request_ids import current_request
from app.web.addresses import is_anthropic_path, is_api_path, is_by_program, is_ollama_path
from app.web.bodies import format_size, max_body_bytes
from app.web.context import server_context
from app.web.render.frame import render_page
from app.web.security.identity import identity_or_none

# What the framework refuses, in our words.


_SENTENCES: Final = {
    400: "Wick did not understand this request.",
    404: "There is nothing at this address.",
    405: "This address does not support this method.",
    408: "The request timed out. Try again.",
    415: "This content type is not supported here.",
    416: "This part of the file does not exist.",
}


def http_error_message(error: HTTPException, path: str) -> str:
    """Return what was written for this error, or else what is usual for its status."""
    if error.description and error.description != type(error).description:
        return error.description
    if error.code == 413:
        limit = format_size(request.max_content_length or max_body_bytes(path))
        return f"Too large: the limit is {limit}."
    return _SENTENCES.get(error.code or 500) or error.description or error.name


# Errors as programs read them: a status, and a body in the words of the protocol they speak.


RETRY_SECONDS = 5
"""After which a program may try again, where nobody knows better."""
_ADMIN_PATHS = {f"/api/{verb}" for verb in ("pull", "push", "create", "copy", "delete")}
"""What Ollama has, and Wick leaves to its page."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    404: "not_found_error",
    413: "request_too_large",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_CODES: dict[type[WickError], str] = {
    ModelNotFound: "model_not_found",
    PromptTooLong: "context_length_exceeded",
    SchemaRefused: "invalid_schema",
    QueueFull: "queue_full",
    LimitReached: "rate_limit_exceeded",
    NotLoggedIn: "invalid_api_key",
}


def of_event(event: Failed | Interrupted, param: str) -> ApiError:
    """Return what an answer ended with instead of a text."""
    if isinstance(event, Interrupted) and event.finished is not None:
        return ApiError(event.message, status=429, code=_CODES[LimitReached])
    if isinstance(event, Interrupted):
        return ApiError(event.message, status=503, code="interrupted")
    if event.status == PromptTooLong.status:
        return _too_long(event.message, event.prompt_tokens, event.context_length, param)
    status = 400 if event.status == 422 else event.status
    return ApiError(event.message, status=status)


def _too_long(sentence: str, asked: int, limit: int, param: str) -> ApiError:
    """Use the words that programs look for when they shorten a conversation by themselves."""
    if limit and asked:
        sentence = (
            f"This model's maximum context length is {limit} tokens. However, your {param} resulted"
            f" in {asked} tokens. Please reduce the length of the {param}."
        )
    elif limit:
        sentence = f"This model's maximum context length is {limit} tokens. {sentence}"
    return ApiError(sentence, status=400, param=param, code=_CODES[PromptTooLong])


def of_http(error: HTTPException, path: str) -> ApiError:
    """Return what was wrong with a request before anything of ours saw it."""
    text = http_error_message(error, path)
    if error.description == NotFound.description:
        text = "There is nothing at this address. See /docs/api."
        if path in _ADMIN_PATHS:
            text = "Manage models on the models page or with “wick models”."
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
    if is_anthropic_path(path):
        return _anthropic_body(error)
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else None)
    return {
        "error": {
            "message": str(error),
            "type": kind or "invalid_request_error",
            "param": error.param,
            "code": error.code,
        }
    }


def _anthropic_body(error: ApiError) -> dict[str, Any]:
    kind = (_TYPES | _ANTHROPIC_TYPES).get(error.status)
    kind = kind or ("api_error" if error.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}, "request_id": None}


def respond(error: ApiError, path: str) -> Response:
    content = msgspec.json.encode(body(error, path))
    response = Response(content, status=error.status, content_type="application/json")
    if error.status in {429, 503}:
        again = RETRY_SECONDS if error.retry_after is None else error.retry_after
        response.headers["Retry-After"] = str(max(1, math.ceil(again)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Wick"'
    return response


# Errors as sentences: a notice, a page of its own, plain text, or what programs read.


log = logging.getLogger(__name__)
PLAIN = "text/plain; charset=utf-8"


def register(app: Quart) -> None:
    """Answer every error with a sentence, whoever asked."""
    app.register_error_handler(WickError, _explain)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(Exception, _handle_unexpected)


async def _explain(error: WickError | HTTPException) -> Response:
    if isinstance(error, HTTPException) and isinstance(error.response, Response):
        return error.response  # a redirect is no error
    if _is_for_program():
        response = respond(_for_programs(error), request.path)
    else:
        response = await _error_response(*_status_and_text(error))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


async def _handle_unexpected(error: Exception) -> Response:
    log.error("An error inside Wick.", exc_info=error)
    text = f"Something went wrong inside Wick. Its log says more{_request_hint()}."
    if _is_for_program():
        return respond(ApiError(text, status=500), request.path)
    return await _error_response(500, text)


def _request_hint() -> str:
    """Name the request, by which `wick logs --request` finds what happened."""
    request_id = current_request().id
    return f" (request {request_id})" if request_id else ""


def _is_for_program() -> bool:
    """Return whether a program asks, also at an address that it mistakes for one of its own."""
    if not has_request_context():
        return False
    is_lost = request.endpoint is None and is_by_program(request.headers)
    return is_api_path(request.path) or is_lost


def _for_programs(error: WickError | HTTPException) -> ApiError:
    if isinstance(error, WickError):
        return as_api_error(error)
    return of_http(error, request.path)


def _status_and_text(error: WickError | HTTPException) -> tuple[int, str]:
    if isinstance(error, WickError):
        return error.status, str(error)
    path = request.path if has_request_context() else ""
    return error.code or 500, http_error_message(error, path)


async def _error_response(status: int, text: str) -> Response:
    if not has_request_context():  # an upgrade to a WebSocket: no page will show it
        return Response(text, status=status, content_type=PLAIN)
    fragments = server_context().fragments
    if "text/plain" in request.headers.get("Accept", ""):
        return Response(text, status=status, content_type=PLAIN)
    if request.headers.get("HX-Request"):
        html = fragments.notice(text)
    elif (page := await _framed(status, text)) is not None:
        return page
    else:
        html = fragments.render("error.html", status=status, text=text)
    return Response(html, status=status, content_type="text/html; charset=utf-8")


async def _framed(status: int, text: str) -> Response | None:
    """Render the error beside the chats of the user who is logged in, if there is one."""
    if identity_or_none() is None:
        return None
    try:
        return await render_page("error_framed.html", status=status, code=status, text=text)
    except Exception:  # what failed for the page may fail for the list as well
        log.exception("The page of an error could not be made.")
        return None
