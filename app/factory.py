"""The application: its screens, what guards them, and how it starts and ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from quart import Quart, has_request_context

from app import audit
from app.config import Settings
from app.errors import WickError
from app.paths import asset_dir
from app.store.db import open_database
from app.web import (
    archive,
    base_path,
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
    sentences,
    shares,
    sockets,
    status,
    terminal,
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
from app.web.api.paths import Aliases
from app.web.state import ServerContext

BODY_SECONDS = 30
"""For a form to arrive. Uploads and imports have no end to hurry to, only pauses (uploads.py)."""


class Application(Quart):
    """What hinders its start is told by whoever starts it, in a sentence."""

    def log_exception(self, exception_info: Any) -> None:
        if has_request_context() or not isinstance(exception_info[1], WickError | OSError):
            super().log_exception(exception_info)


def create_app(settings: Settings) -> Quart:
    """The whole of Wick as one ASGI application; everything starts and ends with its lifespan."""
    app = Application(__name__, static_folder=str(asset_dir("static")), template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    app.url_map.converters["int"] = row_ids.RowId
    app.request_class = exchange.WickRequest
    app.asgi_http_class = uploads.BackpressuredConnection
    app.asgi_websocket_class = sockets.BoundedConnection
    compression.compress(app)
    security.install(app, settings)
    entrance.install(app, settings)
    for screen in (
        *(bundles, pages, chats, chat_settings, messages, search, archive, trash, exchange),
        *(models, model_settings, models_live, models_report, uploads, live, status, health),
        *(api_models, chat_completions, completions, embeddings),
        *(ollama_answers, ollama_models, ollama_embeddings, api_chats, api_messages, openapi, docs),
        *(login, you, people, keys, shares, terminal),
        *(api_branching, api_finding, api_files),
    ):
        app.register_blueprint(screen.blueprint)
    sentences.register(app)

    base_path.lead_below(app, settings)
    inside = base_path.BasePath(Aliases(app.asgi_app), settings.base_path)
    behind = proxies.Proxies(inside, settings.trusted_proxies)
    app.asgi_app = behind  # type: ignore[method-assign]

    @app.while_serving
    async def events() -> AsyncGenerator[None, None]:
        with audit.write_audit_file(settings.data_dir):
            yield

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None, None]:
        async with open_database(settings.database) as db:
            context = app.extensions["wick"] = ServerContext(settings, db)
            async with context.open():
                yield

    return app


async def shutdown(app: Quart) -> None:
    """See `ServerContext.close`."""
    context: ServerContext = app.extensions["wick"]
    await context.close()
