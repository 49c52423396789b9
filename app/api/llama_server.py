"""`/tokenize`, `/apply-template`, `/props` and others that llama-server has beside `/v1`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

import app
from app.api import generation, http
from app.api.openai.chat import ChatRequest, plain_command
from app.conversations.settings import resolve
from app.errors import ApiError
from app.inference.model_state import ModelState
from app.models.model import Model
from app.models.parameters import PARAMETERS, GenerationSettings
from app.models.text.builtin_templates import template_of
from app.models.text.tokenization_job import TokenizationJob, TokenizationResult
from app.web.context import server_context
from app.web.render.models import default_model
from app.web.security import auth

blueprint = Blueprint("api_llama_server", __name__)
MAX_IDS: Final = 1 << 20
TokenId = Annotated[int, Meta(ge=0, lt=2**31)]


class TokenizeRequest(msgspec.Struct):
    """content: a text; parse_special: whether names of special tokens in it stand for those;
    add_special: whether a token that begins texts is added. vLLM's words for the same are prompt
    and add_special_tokens."""

    content: str | None = None
    model: str | None = None
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    prompt: str | None = None
    add_special_tokens: bool | None = None


class TokenText(msgspec.Struct):
    """piece: the text of a token, or its bytes where they are no whole characters."""

    id: int
    piece: str | list[int]


class TokenizeResponse(msgspec.Struct):
    tokens: list[int | TokenText]
    count: int
    max_model_len: int


class DetokenizeRequest(msgspec.Struct):
    tokens: Annotated[list[TokenId], Meta(max_length=MAX_IDS)]
    model: str | None = None


class DetokenizeResponse(msgspec.Struct):
    """prompt: the same in vLLM's words."""

    content: str
    prompt: str


class TemplateRequest(ChatRequest, kw_only=True):
    """Conversation as for an answer, and other fields of that, which are passed over."""

    model: str = ""


class TemplateResponse(msgspec.Struct):
    prompt: str


class Modalities(msgspec.Struct):
    vision: bool
    audio: bool


class SlotSettings(msgspec.Struct):
    """n_ctx: tokens of a context; params: what the model answers with by default."""

    n_ctx: int
    params: dict[str, Any]
    id: int = 0
    speculative: bool = False
    is_processing: bool = False


class ServerProperties(msgspec.Struct):
    """total_slots: answers that are written at the same time; is_sleeping: nothing is loaded."""

    default_generation_settings: SlotSettings
    total_slots: int
    model_alias: str
    model_path: str
    chat_template: str
    modalities: Modalities
    build_info: str
    is_sleeping: bool


class SlotState(msgspec.Struct):
    """One of the answers that can be written at the same time; never anybody's words."""

    id: int
    model: str
    n_ctx: int
    is_processing: bool
    speculative: bool = False


@blueprint.post("/tokenize")
async def tokenize() -> Response:
    body = await http.parse_body(TokenizeRequest)
    model = await _model(body.model)
    job = TokenizationJob(
        text=body.content if body.prompt is None else body.prompt,
        adds_special=bool(body.add_special or body.add_special_tokens),
        parses_special=body.parse_special is not False,
    )
    result = await _run(model, job)
    tokens: Any = result.ids
    if body.with_pieces:
        tokens = [
            TokenText(token, _piece(data))
            for token, data in zip(result.ids, result.pieces, strict=True)
        ]
    return http.json_response(TokenizeResponse(tokens, len(result.ids), _context_length(model)))


@blueprint.post("/detokenize")
async def detokenize() -> Response:
    body = await http.parse_body(DetokenizeRequest)
    result = await _run(await _model(body.model), TokenizationJob(ids=body.tokens))
    return http.json_response(DetokenizeResponse(result.text, result.text))


@blueprint.post("/apply-template")
async def apply_template() -> Response:
    body = await http.parse_body(TemplateRequest)
    model = await _model(body.model)
    command, _ = plain_command(body, model.name)
    reading = server_context().tokenization.read(model, command)
    return http.json_response(TemplateResponse((await http.while_allowed(reading)).text))


@blueprint.get("/props")
async def props() -> Response:
    context, model = server_context(), await _model(request.args.get("model"))
    status = context.pool.status(model.name)
    is_loaded = status is not None and status.state is ModelState.READY
    found = ServerProperties(
        SlotSettings(_context_length(model), _params(resolve(context.settings, model))),
        status.slots if status is not None and is_loaded else context.settings.slots,
        model.name,
        model.name,
        template_of(model),
        Modalities(vision=model.sees, audio=model.hears),
        f"wick-{app.__version__}",
        is_sleeping=not is_loaded,
    )
    return http.json_response(found)


@blueprint.get("/slots")
@auth.owner_required
async def slots() -> Response:
    wanted = request.args.get("model")
    loaded = [
        status
        for status in server_context().pool.statuses()
        if status.state is ModelState.READY and wanted in {None, status.name}
    ]
    places = [(status, number) for status in loaded for number in range(status.slots)]
    states = [
        SlotState(place, status.name, status.context_length, number < status.running)
        for place, (status, number) in enumerate(places)
    ]
    return http.json_response(states)


async def _model(name: str | None) -> Model:
    """Find a model by its name; else the one that new chats begin with, or any that is there.

    Raises ModelNotFound.
    """
    context = server_context()
    if name:
        return await asyncio.to_thread(context.store.get, generation.model_name(name))
    default = await default_model(context)
    models = [one for one in await asyncio.to_thread(context.store.models) if one.kind == "text"]
    models.sort(key=lambda one: one.name != default)
    return models[0] if models else await asyncio.to_thread(context.store.get, default)


async def _run(model: Model, job: TokenizationJob) -> TokenizationResult:
    if job.ids is None and job.text is None:
        raise ApiError("The text is missing.", param="content")
    return await http.while_allowed(server_context().tokenization.run(model, job))


def _context_length(model: Model) -> int:
    return resolve(server_context().settings, model).context_length or model.context_length


def _piece(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


def _params(made_with: GenerationSettings) -> dict[str, Any]:
    """The generation parameters by the names of `/v1`."""
    found = {}
    for name, row in PARAMETERS.items():
        wire = row.wire("openai")
        if wire is not None:
            found[wire.name] = made_with.value(name)
    return found | {"n_predict": made_with.max_tokens}
