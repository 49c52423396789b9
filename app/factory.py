"""The application: its parts, how they are wired, and how it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from quart import Quart, Response, has_request_context, request
from werkzeug.exceptions import HTTPException

from app import audit
from app.accounts.keys import Keys
from app.accounts.logins import Logins
from app.accounts.people import People
from app.accounts.throttle import Throttle
from app.chats.asking import Asking
from app.chats.branches import Branches
from app.chats.exports import Exports
from app.chats.hub import Hub
from app.chats.imports import Imports
from app.chats.leaving import Leaving
from app.chats.limits import Limits
from app.chats.search import Search
from app.chats.service import Chats
from app.chats.shares import Shares
from app.chats.trash import Trash
from app.config import Settings
from app.errors import ApiError, WickError
from app.inference.pool import Pool
from app.models.pulls import Pulls
from app.models.shelf import Shelf
from app.paths import asset_dir
from app.store.db import open_database
from app.web import (
    archive,
    bundles,
    chat_settings,
    chats,
    compression,
    entrance,
    exchange,
    health,
    keys,
    live,
    login,
    messages,
    model_settings,
    models,
    models_live,
    models_report,
    pages,
    people,
    proxies,
    row_ids,
    search,
    security,
    shares,
    status,
    trash,
    uploads,
    you,
)
from app.web.api import branching as api_branching
from app.web.api import (
    chat_completions,
    completions,
    docs,
    embeddings,
    failures,
    ollama_answers,
    ollama_embeddings,
    ollama_models,
    openapi,
)
from app.web.api import chats as api_chats
from app.web.api import files as api_files
from app.web.api import finding as api_finding
from app.web.api import messages as api_messages
from app.web.api import models as api_models
from app.web.api.paths import is_for_programs
from app.web.fragments import Fragments
from app.web.growing import Growing
from app.web.state import State, state

log = logging.getLogger(__name__)
SERVICE_RESTART = 1012
STOPPED = "Wick was stopped."
SAVE_SECONDS = 1.0
BODY_SECONDS = 30
"""For a form to arrive. Uploads and imports have no end to hurry to, only pauses (uploads.py)."""
GOODBYE_SECONDS = 0.3


def create_app(settings: Settings) -> Quart:
    """The whole of Wick as one ASGI application; everything starts and ends with its lifespan."""
    app = Quart(__name__, static_folder=str(asset_dir("static")), template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    app.url_map.converters["int"] = row_ids.RowId
    app.request_class = exchange.Request
    app.asgi_http_class = uploads.PatientConnection
    compression.compress(app)
    security.protect(app, settings)
    entrance.keep_entrance(app, settings)
    for screen in (
        *(bundles, pages, chats, chat_settings, messages, search, archive, trash, exchange),
        *(models, model_settings, models_live, models_report, uploads, live, status, health),
        *(api_models, chat_completions, completions, embeddings),
        *(ollama_answers, ollama_models, ollama_embeddings, api_chats, api_messages, openapi, docs),
        *(login, you, people, keys, shares),
        *(api_branching, api_finding, api_files),
    ):
        app.register_blueprint(screen.blueprint)
    app.register_error_handler(WickError, _explain)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(Exception, _confess)

    behind = proxies.Proxies(app.asgi_app, settings.trusted_proxies)
    app.asgi_app = behind  # type: ignore[method-assign]

    @app.while_serving
    async def events() -> AsyncGenerator[None, None]:
        with audit.kept_in(settings.data_dir):
            yield

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None, None]:
        shelf = Shelf(settings.models_dir)
        hub, pulls = Hub(), Pulls(shelf, is_public=settings.has_accounts)
        pulls.listeners.append(hub.models_changed)
        async with open_database(settings.database) as db:
            pool = Pool(settings, shelf, pulls)
            pool.listeners.append(hub.models_changed)
            limits = Limits(settings, db, pool, hub)
            await limits.load()
            asking = Asking(settings, db, shelf, pulls, pool, hub, limits)
            verbs = Chats(db, hub, asking)
            await verbs.recover()
            emptied = Trash(db, pool, hub)
            logins = Logins(db)
            leaving = Leaving(settings, db, asking, pool, hub)
            watches = [
                asyncio.create_task(emptied.keep_watch(), name="trash"),
                asyncio.create_task(logins.keep_watch(), name="logins"),
                asyncio.create_task(leaving.keep_watch(), name="leaving"),
                asyncio.create_task(pool.remotes.keep_watch(), name="servers"),
            ]
            fragments = Fragments(asset_dir("templates"), asset_dir("static"))
            app.extensions["wick"] = State(
                settings,
                shelf,
                pulls,
                hub,
                verbs,
                asking,
                Branches(db, hub, asking),
                pool,
                fragments,
                Growing(hub),
                Search(db),
                emptied,
                Exports(db),
                Imports(db, hub),
                People(db, logins, throttle=Throttle(settings.login_attempts)),
                logins,
                Keys(db),
                leaving,
                limits,
                Shares(db),
            )
            if settings.auto_pull and not shelf.models():
                pulls.try_start(settings.default_model)
            yield
            for watch in watches:
                watch.cancel()
            await close(app)
            await asyncio.gather(*watches, return_exceptions=True)

    return app


async def close(app: Quart) -> None:
    """Stop everything that runs: answers keep their text, tabs are told that Wick restarts.

    Called before the server stops serving, so that sockets get a proper goodbye; again is harmless.
    """
    here: State = app.extensions["wick"]
    if here.is_closing:
        return
    here.is_closing = True
    here.asking.close(STOPPED)
    here.pool.interrupt(STOPPED)
    # Tabs go last: one that is told to come back would do so while the server still listens.
    await asyncio.gather(
        here.pool.close(STOPPED),
        here.asking.tasks.drain(SAVE_SECONDS),
        here.limits.tasks.drain(SAVE_SECONDS),
        here.pulls.close(),
    )
    here.hub.close(SERVICE_RESTART)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await here.hub.all_gone()


async def _explain(error: WickError | HTTPException) -> Response:
    """An error that has a sentence: as a notice, as plain text, or as a page of its own."""
    if has_request_context() and is_for_programs(request.path):
        return _tell_program(error)
    if isinstance(error, HTTPException):
        status = error.code or 500
        text = error.description or error.name
        if isinstance(error.response, Response):  # a redirect is no error
            return error.response
    else:
        status, text = error.status, str(error)
    return _sentence(status, text)


def _tell_program(error: WickError | HTTPException) -> Response:
    if isinstance(error, HTTPException):
        if isinstance(error.response, Response):
            return error.response
        return failures.respond(failures.of_http(error, request.path), request.path)
    return failures.respond(failures.as_api_error(error), request.path)


async def _confess(error: Exception) -> Response:
    log.error("An error inside Wick.", exc_info=error)
    text = "Something went wrong inside Wick. Its log says more."
    if has_request_context() and is_for_programs(request.path):
        return failures.respond(ApiError(text, status=500), request.path)
    return _sentence(500, text)


def _sentence(status: int, text: str) -> Response:
    if not has_request_context():  # an upgrade to a WebSocket: no page will show it
        return Response(text, status=status, content_type="text/plain; charset=utf-8")
    fragments = state().fragments
    if "text/plain" in request.headers.get("Accept", ""):
        return Response(text, status=status, content_type="text/plain; charset=utf-8")
    if request.headers.get("HX-Request"):
        html = fragments.notice(text)
    else:
        html = fragments.render("error.html", status=status, text=text)
    return Response(html, status=status, content_type="text/html; charset=utf-8")
