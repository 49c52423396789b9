"""`/v1/responses`: answers from which a program goes on by their ids."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from quart import Blueprint, Response, request

from app.api import generation, http, pictures
from app.api.openai.response_input import ItemReader
from app.api.openai.response_replies import (
    PARAM,
    ItemWriter,
    ResponseReply,
    Save,
    new_id,
    response_of_item,
)
from app.api.openai.response_schemas import (
    ENCRYPTED,
    InputItem,
    InputItemList,
    InputTokens,
    ResponseDeleted,
    ResponsesRequest,
    ResponsesToolChoice,
)
from app.api.pictures import SentPicture
from app.api.tools import (
    NamedFunction,
    NamedTool,
    check_rules,
    check_specs,
    function_spec,
    to_choice,
)
from app.db.responses import StoredResponse
from app.errors import ApiError, ResponseNotFound
from app.inference.protocol import Generate, to_storable
from app.models.text.tools import ToolSpec
from app.web.context import server_context
from app.web.security.identity import current_user

blueprint = Blueprint("api_responses", __name__, url_prefix="/v1/responses")


@dataclass(frozen=True, slots=True)
class _ReadRequest:
    """A request as read: its own items as JSON, the command, and the pictures to show."""

    new: list[dict[str, Any]]
    command: Generate
    pictures: Sequence[SentPicture]


@blueprint.post("")
async def create() -> Response:
    body = await http.parse_body(ResponsesRequest)
    body.check()
    name = generation.model_name(body.model)
    if body.is_stored:
        await server_context().storage.check(current_user())
    said = await _read(body)
    command = await _to_command(body, name, said)
    completions = generation.open_completions(name, [command])
    pictures.hold(completions, command)
    http.start_with_connection(completions)
    writer = ItemWriter(
        new_id(),
        is_summary=body.reasoning is not None and body.reasoning.summary is not None,
        is_encrypted=ENCRYPTED in body.included,
    )
    save = _saver(body, writer.response_id, said) if body.is_stored else None
    reply = ResponseReply(completions, writer, _fields(body, command), request.path, save)
    if not body.stream:
        return http.json_response(await http.while_allowed(reply.whole()))
    await http.wait_first_event(completions, PARAM)
    return http.sse(reply.events())


@blueprint.post("/input_tokens")
async def count_tokens() -> Response:
    body = await http.parse_body(ResponsesRequest)
    body.check()
    context, name = server_context(), generation.model_name(body.model)
    model = await asyncio.to_thread(context.store.get, name)
    said = await _read(body)
    command = generation.to_command(name, {}, said.command)
    counting = context.tokenization.count(model, command, len(said.pictures))
    return http.json_response(InputTokens(await http.while_allowed(counting)))


@blueprint.get("/<response_id>")
async def get(response_id: str) -> Response:
    found = await server_context().responses.get(current_user(), response_id)
    return http.json_response(msgspec.Raw(found.response.encode()))


@blueprint.delete("/<response_id>")
async def delete(response_id: str) -> Response:
    await server_context().responses.remove(current_user(), response_id)
    return http.json_response(ResponseDeleted(response_id))


@blueprint.get("/<response_id>/input_items")
async def list_input_items(response_id: str) -> Response:
    chain = await server_context().responses.chain(current_user(), response_id)
    earlier = [item for one in chain[:-1] for item in _items_of(one)]
    items = [*earlier, *json.loads(chain[-1].input)]
    listed = [{"id": f"in_{number}"} | item for number, item in enumerate(items)]
    if request.args.get("order") != "asc":
        listed.reverse()
    first, last = (listed[0]["id"], listed[-1]["id"]) if listed else (None, None)
    return http.json_response(InputItemList(listed, first, last))


async def _read(body: ResponsesRequest) -> _ReadRequest:
    """Read the conversation before this request, and its own items. Raises ApiError."""
    earlier = await _earlier(body.previous_response_id)
    if isinstance(body.input, str):
        items = [InputItem(role="user", content=body.input)]
    else:
        items = await _resolve(body.input)
    reader = ItemReader(body.instructions or "")
    turns = reader.turns([*msgspec.convert(earlier, list[InputItem]), *items])
    specs, choice = _tools(body)
    check_rules(specs, choice, body.schema, "text.format")
    command = Generate(
        id=0,
        turns=turns,
        allow_truncation=body.truncation == "auto",
        tools=specs,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        top_logprobs=body.logprobs,
        schema=body.schema,
        effort=None if body.reasoning is None else body.reasoning.effort,
    )
    return _ReadRequest(msgspec.to_builtins(items), command, reader.pictures)


def _tools(body: ResponsesRequest) -> tuple[tuple[ToolSpec, ...], str]:
    """The functions that may be called, and the choice among them. Raises ApiError."""
    functions = [tool for tool in body.tools or () if tool.type == "function"]
    given = body.tool_choice
    if isinstance(given, ResponsesToolChoice) and given.type == "allowed_tools":
        allowed = {tool.name for tool in given.tools or ()}
        functions = [tool for tool in functions if tool.name in allowed]
        given = given.mode
    specs = check_specs(
        [function_spec(tool.name or "", tool.description, tool.parameters) for tool in functions]
    )
    if isinstance(given, ResponsesToolChoice):
        return specs, to_choice(NamedTool(NamedFunction(given.name or "")), specs)
    return specs, to_choice(given, specs)


async def _earlier(response_id: str | None) -> list[dict[str, Any]]:
    """List the items of the responses before. Raises ApiError."""
    if not response_id:
        return []
    try:
        chain = await server_context().responses.chain(current_user(), response_id)
    except ResponseNotFound as error:
        raise ApiError(
            str(error), param="previous_response_id", code="previous_response_not_found"
        ) from error
    return [item for one in chain for item in _items_of(one)]


def _items_of(stored: StoredResponse) -> list[dict[str, Any]]:
    return [*json.loads(stored.input), *json.loads(stored.response)["output"]]


async def _resolve(items: Sequence[InputItem]) -> list[InputItem]:
    """Put in the place of each reference the item that it means. Raises ApiError."""
    found: list[InputItem] = []
    known: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(items):
        if item.type != "item_reference":
            found.append(item)
            continue
        if item.id not in known:
            known |= await _items_by_id(item.id or "", f"{PARAM}[{number}].id")
        found.append(msgspec.convert(known[item.id or ""], InputItem))
    return found


async def _items_by_id(item_id: str, param: str) -> dict[str, dict[str, Any]]:
    """Find an item, with those of the same response. Raises ApiError."""
    try:
        stored = await server_context().responses.get(current_user(), response_of_item(item_id))
        items = {item["id"]: item for item in json.loads(stored.response)["output"]}
    except ResponseNotFound:
        items = {}
    if item_id not in items:
        raise ApiError(f"There is no item with the id “{item_id}”.", status=404, param=param)
    return items


async def _to_command(body: ResponsesRequest, name: str, said: _ReadRequest) -> Generate:
    """Raises ApiError."""
    made = generation.to_command(name, body.chosen, said.command)
    if not said.pictures:
        return made
    # Again with the pictures: what is wrong with the rest costs no decoding.
    shown = await pictures.show(name, said.command, said.pictures)
    return generation.to_command(name, body.chosen, shown)


def _saver(body: ResponsesRequest, response_id: str, said: _ReadRequest) -> Save:
    """Return what keeps the response, for the user who asks now."""
    responses, user_id = server_context().responses, current_user()
    new = to_storable(json.dumps(said.new, ensure_ascii=False))

    async def save(made: dict[str, Any]) -> None:
        text = to_storable(json.dumps(made, ensure_ascii=False))
        previous = body.previous_response_id or None
        stored = StoredResponse(response_id, previous, new, text, time.time())
        await responses.save(user_id, stored)

    return save


def _fields(body: ResponsesRequest, command: Generate) -> dict[str, Any]:
    """The fields of a response that the request says, or that were resolved for it."""
    text = msgspec.to_builtins(body.text) if body.text is not None else {}
    reasoning = msgspec.to_builtins(body.reasoning) if body.reasoning is not None else {}
    return {
        "model": body.model,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": None, "summary": None} | reasoning,
        "service_tier": "default",
        "store": body.is_stored,
        "temperature": command.sampling.temperature,
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": msgspec.to_builtins(body.tool_choice or "auto"),
        "tools": msgspec.to_builtins(body.tools or []),
        "top_logprobs": body.top_logprobs or 0,
        "top_p": command.sampling.top_p,
        "truncation": body.truncation or "disabled",
    }
