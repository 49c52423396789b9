"""The application: its routes, what guards them, how it starts and ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from quart import Quart, has_request_context

from app import audit
from app.accounts.passwords import Passwords
from app.api import docs, llama_server
from app.api.anthropic import messages as anthropic_messages
from app.api.chats import chats as api_chats
from app.api.chats import files as api_files
from app.api.chats import folders as api_folders
from app.api.chats import library as api_library
from app.api.chats import messages as api_branching
from app.api.ollama import embeddings as ollama_embeddings
from app.api.ollama import generate
from app.api.ollama import models as ollama_models
from app.api.openai import chat as openai_chat
from app.api.openai import embeddings, rerank, responses, text, transcriptions
from app.api.openai import models as api_models
from app.api.openai import speech as openai_speech
from app.config import Settings, asset_dir, otlp_traces_endpoint
from app.db.connection import open_database
from app.errors import WickError
from app.metrics.traces import open_tracing
from app.web import addresses, assets, bodies, errors, request_log, socket
from app.web.context import ServerContext
from app.web.live import chat as live_chat
from app.web.live import comparison as live_comparison
from app.web.live import models as live_models
from app.web.live import sidebar as live_sidebar
from app.web.pages import (
    account,
    artifact,
    attachments,
    chat,
    comparison,
    documents,
    folder_documents,
    folders,
    import_export,
    lists,
    login,
    media,
    metrics,
    models,
    one_time_codes,
    palette,
    passkeys,
    personas,
    prompts,
    provider_login,
    regeneration,
    shares,
    speech,
    tool_library,
    tool_servers,
    tools,
    uploads,
    users,
)
from app.web.pages import settings as pages_settings
from app.web.pages import status as pages_status
from app.web.security import auth, hosts, proxies, proxy_login

__all__ = ["ServerContext", "create_app", "shutdown"]
BODY_SECONDS = 30
"""For a form to arrive. Uploads and imports have no end to hurry to, only pauses (bodies.py)."""


class Application(Quart):
    """Quart application whose caller reports a failed start in a sentence."""

    url_rule_class = addresses.MatchedRule

    def log_exception(self, exception_info: Any) -> None:
        if has_request_context() or not isinstance(exception_info[1], WickError | OSError):
            super().log_exception(exception_info)


def create_app(settings: Settings, passwords: Passwords | None = None) -> Quart:
    """Build Wick as one ASGI application; everything starts and ends with its lifespan.

    passwords: how they are hashed, other than as recommended.
    """
    app = Application(__name__, static_folder=str(asset_dir("static")), template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = BODY_SECONDS
    app.url_map.converters["int"] = addresses.RowId
    app.request_class = bodies.WickRequest.limited(settings)
    app.asgi_http_class = bodies.BackpressuredConnection
    app.asgi_websocket_class = socket.BoundedConnection
    bodies.compress(app)
    metrics.install(app)
    request_log.install(app)
    hosts.install(app, settings)
    auth.install(app, settings)
    for blueprint in (
        *(
            assets.blueprint,
            artifact.blueprint,
            chat.blueprint,
            chat.chats_blueprint,
            chat.messages_blueprint,
            attachments.blueprint,
            prompts.blueprint,
            personas.blueprint,
            api_library.blueprint,
            api_folders.blueprint,
            api_files.blueprint,
            regeneration.blueprint,
            tools.blueprint,
            comparison.blueprint,
            lists.search_blueprint,
            palette.blueprint,
            folders.blueprint,
            folders.new_blueprint,
            folders.chat_blueprint,
            folder_documents.blueprint,
            folder_documents.add_blueprint,
            documents.blueprint,
            lists.archive_blueprint,
            lists.trash_blueprint,
            import_export.blueprint,
        ),
        *(
            models.blueprint,
            pages_settings.blueprint,
            live_models.blueprint,
            live_sidebar.blueprint,
            models.report_blueprint,
            uploads.blueprint,
            live_chat.blueprint,
            live_comparison.blueprint,
            pages_status.blueprint,
            pages_status.health_blueprint,
            metrics.blueprint,
        ),
        *(api_models.blueprint, openai_chat.blueprint, text.blueprint, embeddings.blueprint),
        responses.blueprint,
        *(rerank.blueprint, openai_speech.blueprint, speech.blueprint),
        *(transcriptions.blueprint, media.blueprint),
        *(
            generate.blueprint,
            ollama_models.blueprint,
            ollama_embeddings.blueprint,
            api_chats.blueprint,
            api_branching.blueprint,
            anthropic_messages.blueprint,
            llama_server.blueprint,
            docs.blueprint,
            docs.page_blueprint,
        ),
        *(
            login.blueprint,
            provider_login.blueprint,
            account.blueprint,
            one_time_codes.login_blueprint,
            one_time_codes.blueprint,
            passkeys.login_blueprint,
            passkeys.blueprint,
            users.blueprint,
            tool_servers.blueprint,
            tool_library.blueprint,
            account.keys_blueprint,
            shares.blueprint,
            users.admin_blueprint,
        ),
        *(api_branching.branch_blueprint, api_chats.search_blueprint, api_chats.export_blueprint),
    ):
        app.register_blueprint(blueprint)
    errors.register(app)

    addresses.lead_below(app, settings)
    inside = addresses.BasePath(addresses.Aliases(app.asgi_app), settings.base_path)
    behind = proxies.Proxies(inside, settings.trusted_proxies)
    known = proxy_login.LoginHeader(behind, settings)
    tracing = app.extensions[request_log.TRACING] = open_tracing(otlp_traces_endpoint())
    app.asgi_app = request_log.RequestIds(known, settings.trusted_proxies, tracing)  # type: ignore[method-assign]

    @app.while_serving
    async def events() -> AsyncGenerator[None, None]:
        with audit.write_audit_file(settings.data_dir):
            yield

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None, None]:
        async with open_database(settings.database, settings.upgrade_copies_kept) as db:
            context = app.extensions["wick"] = ServerContext(settings, db, passwords)
            if tracing is not None:
                context.pool.observers.append(tracing.on_event)
            async with context.open():
                yield
            if tracing is not None:
                await tracing.close()

    return app


async def shutdown(app: Quart) -> None:
    """Shut down; see `ServerContext.close`."""
    context: ServerContext = app.extensions["wick"]
    await context.close()
