"""Errors as sentences: a notice, a page of its own, plain text, or what programs read."""

from __future__ import annotations

import logging

from quart import Quart, Response, has_request_context, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.errors import ApiError, WickError
from app.web.api import failures
from app.web.api.paths import is_api_path, is_by_program
from app.web.http_sentences import http_error_message
from app.web.state import server_context

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
        response = failures.respond(_for_programs(error), request.path)
    else:
        response = _error_response(*_status_and_text(error))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


async def _handle_unexpected(error: Exception) -> Response:
    log.error("An error inside Wick.", exc_info=error)
    text = "Something went wrong inside Wick. Its log says more."
    if _is_for_program():
        return failures.respond(ApiError(text, status=500), request.path)
    return _error_response(500, text)


def _is_for_program() -> bool:
    """Also at an address where nothing is, which a program has mistaken for one of its own."""
    if not has_request_context():
        return False
    is_lost = request.endpoint is None and is_by_program(request.headers)
    return is_api_path(request.path) or is_lost


def _for_programs(error: WickError | HTTPException) -> ApiError:
    if isinstance(error, WickError):
        return failures.as_api_error(error)
    return failures.of_http(error, request.path)


def _status_and_text(error: WickError | HTTPException) -> tuple[int, str]:
    if isinstance(error, WickError):
        return error.status, str(error)
    path = request.path if has_request_context() else ""
    return error.code or 500, http_error_message(error, path)


def _error_response(status: int, text: str) -> Response:
    if not has_request_context():  # an upgrade to a WebSocket: no page will show it
        return Response(text, status=status, content_type=PLAIN)
    fragments = server_context().fragments
    if "text/plain" in request.headers.get("Accept", ""):
        return Response(text, status=status, content_type=PLAIN)
    if request.headers.get("HX-Request"):
        html = fragments.notice(text)
    else:
        html = fragments.render("error.html", status=status, text=text)
    return Response(html, status=status, content_type="text/html; charset=utf-8")
