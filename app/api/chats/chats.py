"""`/api/v1/chats`: a user's chats, the same as on the page; their export, search, and models."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal, cast

import msgspec
from msgspec import UNSET
from quart import Blueprint, Response, request

from app.age import MEDIA_TYPE, encrypt_pieces
from app.api import http
from app.api.chats import messages
from app.api.chats.schemas import (
    ChatChange,
    ChatId,
    ChatList,
    ChatObject,
    NewChat,
    ToolChoice,
    ToolList,
    ToolObject,
    chat_object,
    settings_object,
)
from app.conversations.chats import new_chat_id
from app.conversations.personas import settings_of
from app.conversations.search import split_highlights
from app.conversations.settings import ChatSettings
from app.db.chats import Chat, Cursor, ListName
from app.db.search import SearchQuery, words_of
from app.errors import ApiError
from app.inference.kv_files import MEMORY_ONLY, is_memory_only
from app.models.catalogue import kind_of
from app.models.model import Model, ModelKind
from app.tools.tool import ToolContext
from app.web.addresses import row_id
from app.web.context import ServerContext, server_context, services_of
from app.web.pages.chat import get_chat_or_404, get_saved_chat_or_404
from app.web.render import cards
from app.web.render.cards import describe_progress, describe_readiness
from app.web.render.models import default_model
from app.web.security.identity import current_user

blueprint = Blueprint("api_chats", __name__, url_prefix="/api/v1/chats")
LISTS: Final = ("listed", "pinned", "archived", "trashed", "folder")


@blueprint.get("")
async def list_chats() -> Response:
    """List a page of chats. `?list=`: one of LISTS; `?folder=`: with `list=folder`, the id of one;
    `?after=`: `next` of the previous page."""
    context, user_id = server_context(), current_user()
    name = http.one_of(request.args.get("list", "listed"), LISTS, "list")
    after = request.args.get("after", "")
    cursor = Cursor.parse(after)
    if after and cursor is None:
        raise ApiError("This is not where a page of the list ended.", param="after")
    folder = request.args.get("folder", type=row_id)
    if (folder is None) == (name == "folder"):
        raise ApiError("Give list=folder and the id of a folder together.", param="folder")
    if folder is not None:
        await context.folders.get(user_id, folder)
    chats, more = await context.chats.page(user_id, cast("ListName", name), cursor, folder)
    running = context.hub.running_chats(user_id)
    data = [chat_object(chat, running) for chat in chats]
    return http.json_response(ChatList(data, str(more) if more else None))


@blueprint.post("")
async def create() -> Response:
    context, user_id = server_context(), current_user()
    body = await http.parse_body(NewChat)
    if body.temporary and body.folder is not None:
        raise ApiError(
            "A temporary chat is in no folder. Leave out one of the two.", param="folder"
        )
    chat_id = _chat_id(user_id, body.client_id, temporary=body.temporary)
    if body.temporary:
        context.temporary.keep_for_program(chat_id)
    before = await services_of(chat_id).chats.get(user_id, chat_id)
    persona = await context.personas.get(user_id, body.persona) if body.persona else None
    folder = None
    if body.folder is not None:
        folder = await context.folders.get(user_id, body.folder)
    begun_with = [one.model for one in (persona, folder) if one is not None and before is None]
    usual = next(filter(None, begun_with), "")
    model = body.model or usual or await messages.model_for(before)
    context.answers.resolve_settings(model)  # nothing is kept for a model that is not there
    chosen = ChatSettings() if body.settings is None else body.settings.overrides()
    if body.temporary and persona is not None:  # what is in memory has no personas
        chosen = ChatSettings(**{**settings_of(persona).overrides, **chosen.overrides})
    if chosen.overrides and before is None:
        await services_of(chat_id).chats.choose_settings(user_id, chat_id, chosen)
    if body.tools and before is None:
        await _switch_on(chat_id, body.tools)
    made = await messages.submit_prompt(
        *(chat_id, body.text, model, body.client_id, body.attachments, body.persona),
        folder=None if folder is None else folder.id,
    )
    if body.title is not None and before is None:
        await services_of(chat_id).chats.rename(user_id, chat_id, body.title)
        made.chat = await get_settings(await get_chat_or_404(chat_id))
    return http.json_response(made, status=201)


def _chat_id(user_id: int, client_id: str | None, *, temporary: bool) -> str:
    """Return one id for one `client_id`, so that it makes one chat however often it is sent."""
    if client_id is None:
        return new_chat_id(temporary=temporary)
    digest = hashlib.sha256(f"{user_id} {client_id}".encode()).hexdigest()[:16]
    return MEMORY_ONLY + digest if temporary else digest


@blueprint.get("/<chat_id>")
async def get(chat_id: str) -> Response:
    return http.json_response(await get_settings(await get_chat_or_404(chat_id)))


@blueprint.patch("/<chat_id>")
async def change(chat_id: str) -> Response:
    context, user_id = server_context(), current_user()
    chat = await get_chat_or_404(chat_id)
    change_body = await http.parse_body(ChatChange)
    if change_body.title is not UNSET:
        await services_of(chat_id).chats.rename(user_id, chat.id, change_body.title)
    if change_body.model is not UNSET:
        context.answers.resolve_settings(change_body.model)
        await services_of(chat_id).chats.choose_model(user_id, chat.id, change_body.model)
    if change_body.settings is not UNSET:
        await services_of(chat_id).chats.choose_settings(
            user_id, chat.id, change_body.settings.overrides()
        )
    if change_body.pinned is not UNSET:
        await services_of(chat_id).chats.set_state(
            user_id, chat.id, "pinned_at", time.time() if change_body.pinned else None
        )
    if change_body.archived is not UNSET:
        when = time.time() if change_body.archived else None
        await services_of(chat_id).chats.set_state(user_id, chat.id, "archived_at", when)
    if change_body.folder is not UNSET:
        await context.folders.move(user_id, chat.id, change_body.folder)
    if change_body.deleted is not UNSET:
        verb = (
            services_of(chat_id).chats.delete
            if change_body.deleted
            else services_of(chat_id).chats.restore
        )
        await verb(user_id, chat.id)
    return http.json_response(await get_settings(await get_chat_or_404(chat_id)))


@blueprint.delete("/<chat_id>")
async def delete(chat_id: str) -> Response:
    """Move a chat to the trash, for 30 days. `?forever=true`: delete it permanently, as is a
    temporary one in any case."""
    is_forever = http.one_of(request.args.get("forever", "false"), ("true", "false"), "forever")
    await get_chat_or_404(chat_id)
    if is_memory_only(chat_id):
        await server_context().temporary.end(chat_id)
        return Response(status=204)
    await server_context().chats.delete(current_user(), chat_id)
    if is_forever == "true":
        await server_context().trash.remove(current_user(), chat_id)
    return Response(status=204)


@blueprint.post("/<chat_id>/stop")
async def stop(chat_id: str) -> Response:
    """Stop the running answer; its text so far is kept."""
    await get_chat_or_404(chat_id)
    await services_of(chat_id).answers.stop(current_user(), chat_id)
    return Response(status=204)


@blueprint.get("/<chat_id>/tools")
async def list_tools(chat_id: str) -> Response:
    """List the tools that there are for a chat, and which are on."""
    await get_chat_or_404(chat_id)
    return http.json_response(await _tools(chat_id))


@blueprint.put("/<chat_id>/tools")
async def choose_tools(chat_id: str) -> Response:
    """Switch tools on, and all others off."""
    await get_chat_or_404(chat_id)
    body = await http.parse_body(ToolChoice)
    await _switch_on(chat_id, body.on)
    server_context().hub.chat_changed(current_user(), chat_id)
    return http.json_response(await _tools(chat_id))


async def _switch_on(chat_id: str, names: Sequence[str]) -> None:
    """Raises ApiError for a tool that is not there."""
    offered = await server_context().toolbox.tools(ToolContext(current_user(), chat_id))
    for name in names:
        if name not in offered:
            raise ApiError(f"There is no tool “{name[:80]}”.", param="tools")
    tools = services_of(chat_id).answers.tools
    await tools.chosen.choose(current_user(), chat_id, names, offered)


async def _tools(chat_id: str) -> ToolList:
    offered = await server_context().toolbox.tools(ToolContext(current_user(), chat_id))
    chosen = await services_of(chat_id).answers.tools.chosen.chosen(current_user(), chat_id)
    return ToolList(
        [
            ToolObject(
                name=name,
                title=tool.title,
                description=tool.spec.description,
                source=tool.source,
                on=name in chosen,
                permission=chosen.get(name, "ask"),
            )
            for name, tool in offered.items()
        ]
    )


async def get_settings(chat: Chat) -> ChatObject:
    """Make the object of a chat with its settings and its persona."""
    context = server_context()
    found = chat_object(chat, context.hub.running_chats(chat.user_id))
    persona = await context.personas.of_chat(chat.user_id, chat.id)
    found.persona = None if persona is None else persona.id
    found.settings = settings_object(
        await services_of(chat.id).chats.settings(chat.user_id, chat.id)
    )
    return found


# `/api/v1/chats/ID/export.md` and `.json`: a chat as a file. docs/export.md has the format.


export_blueprint = Blueprint("api_files", __name__, url_prefix="/api/v1/chats/<chat_id>")


@export_blueprint.get("/export.md")
async def markdown(chat_id: str) -> Response:
    """Export the path that the chat shows."""
    chunks = server_context().exports.markdown(await get_saved_chat_or_404(chat_id))
    return await _file(chunks, "text/markdown; charset=utf-8")


@export_blueprint.get("/export.json")
async def json(chat_id: str) -> Response:
    """Export the chat with its whole tree of messages, as an import takes it."""
    chunks = server_context().exports.json(await get_saved_chat_or_404(chat_id))
    return await _file(chunks, "application/json")


class Passphrase(msgspec.Struct, forbid_unknown_fields=True):
    """passphrase: what the file is to be encrypted by, in the age format."""

    passphrase: str


@export_blueprint.post("/export.md")
async def protected_markdown(chat_id: str) -> Response:
    """Export the path that the chat shows, encrypted."""
    chat = await get_saved_chat_or_404(chat_id)
    return await _encrypted(server_context().exports.markdown(chat))


@export_blueprint.post("/export.json")
async def protected_json(chat_id: str) -> Response:
    """Export the chat with its whole tree of messages, encrypted."""
    chat = await get_saved_chat_or_404(chat_id)
    return await _encrypted(server_context().exports.json(chat))


@blueprint.get("/export.json")
async def all_json() -> Response:
    """Export all chats, the trash left out, as an import takes them."""
    return await _file(server_context().exports.all_json(current_user()), "application/json")


@blueprint.post("/export.json")
async def protected_all_json() -> Response:
    """Export all chats, the trash left out, encrypted."""
    return await _encrypted(server_context().exports.all_json(current_user()))


async def _file(chunks: AsyncIterator[bytes], media_type: str) -> Response:
    return await server_context().spool.response(current_user(), chunks, media_type)


async def _encrypted(chunks: AsyncIterator[bytes]) -> Response:
    passphrase = (await http.parse_body(Passphrase)).passphrase
    return await _file(encrypt_pieces(chunks, passphrase), MEDIA_TYPE)


# `/api/v1/search` and `/api/v1/models`.


search_blueprint = Blueprint("api_finding", __name__, url_prefix="/api/v1")


class ModelChoice(msgspec.Struct):
    """A model; note: what choosing it means, in a word or two. kind: only `text` can chat; others
    are for /v1/embeddings and /v1/rerank.

    default: new chats begin with it; ready: it is installed, else on its way; sent_to: the
    other machines that are sent what is written to it; engine: what runs it, `remote` for another
    server, null while it is on its way; gpu_layers, devices: how many of its layers are on GPUs,
    and which those are, where there is one and the model is loaded.
    """

    name: str
    title: str
    note: str
    default: bool
    ready: bool
    sent_to: list[str]
    engine: Literal["ctransformers", "llama.cpp", "remote"] | None = None
    gpu_layers: int | None = None
    devices: list[str] | None = None
    kind: ModelKind = "text"
    object: Literal["model"] = "model"


class ModelChoices(msgspec.Struct):
    """error: why there is none, where a download of one failed."""

    data: list[ModelChoice]
    error: str | None = None
    object: Literal["list"] = "list"


class SearchHitObject(msgspec.Struct):
    """message_id, role: null where the title has the words. marks: the hits in the snippet, each
    from its first character to the one after it; at: seconds since 1970; file: the id of the
    message's file that has the words, null where its text has them."""

    chat_id: ChatId
    title: str
    message_id: int | None
    role: Literal["user", "assistant"] | None
    snippet: str
    marks: list[list[int]]
    at: float
    file: int | None = None
    object: Literal["hit"] = "hit"


class SearchResultList(msgspec.Struct):
    """more: there are others than these, the best."""

    data: list[SearchHitObject]
    more: bool
    object: Literal["list"] = "list"


@search_blueprint.get("/models")
async def list_models() -> Response:
    """List installed models and running pulls, the model of new chats first."""
    context = server_context()
    first = await default_model(context)
    store = await asyncio.to_thread(context.store.models)
    names = {model.name for model in store}
    found = [_choice(context, model, first) for model in store]
    found += [
        ModelChoice(
            p.name,
            p.title,
            describe_progress(p.progress),
            p.name == first,
            ready=False,
            sent_to=[],
            kind=kind_of(p.name),
        )
        for p in context.pulls.all()
        if p.is_running and p.name not in names
    ]
    found.sort(key=lambda choice: (choice.kind != "text", not choice.default))
    failures = [] if found else [pull.error for pull in context.pulls.all() if pull.error]
    return http.json_response(ModelChoices(found, failures[0] if failures else None))


@search_blueprint.get("/search")
async def search() -> Response:
    """Search titles, messages and their files. `?q=`: words that must all occur."""
    found = await server_context().search.find(
        current_user(), SearchQuery(words_of(request.args.get("q", "")))
    )
    hits = []
    for hit in [*found.titles, *found.messages, *found.files]:
        snippet, marks = split_highlights(hit.snippet)
        hits.append(
            SearchHitObject(
                chat_id=hit.chat_id,
                title=hit.title,
                message_id=hit.message_id,
                role=_role(hit.role),
                snippet=snippet,
                marks=[list(mark) for mark in marks],
                at=hit.at,
                file=hit.file_id,
            )
        )
    return http.json_response(SearchResultList(hits, found.is_more))


def _role(text: str) -> Literal["user", "assistant"] | None:
    """None for the title of a chat."""
    match text:
        case "user" | "assistant":
            return text
        case _:
            return None


def _choice(context: ServerContext, model: Model, first: str) -> ModelChoice:
    note, sent_to = describe_readiness(context.pool.status(model.name)), list[str]()
    if model.remote is not None:
        note = cards.describe_remote_readiness(
            model.remote, context.pool.remotes.status(model.name)
        )
        sent_to = list(model.remote.external_hosts)
    is_first = model.name == first
    worker = context.pool.status(model.name)
    on_gpu = worker.gpu if worker is not None else None
    return ModelChoice(
        model.name,
        model.title,
        note,
        is_first,
        ready=True,
        sent_to=sent_to,
        engine=model.engine,
        gpu_layers=on_gpu.layers if on_gpu is not None else None,
        devices=list(on_gpu.titles) if on_gpu is not None else None,
        kind=model.kind,
    )
