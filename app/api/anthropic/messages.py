"""`/v1/messages`: Anthropic's requests, answered or counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from quart import Blueprint, Response, request

from app.api import generation, http, pictures
from app.api.anthropic.replies import BlockWriter, MessageReply, wait_first_event
from app.api.anthropic.schemas import (
    AnthropicTool,
    AnthropicToolChoice,
    MessagesRequest,
    TokensCount,
)
from app.api.anthropic.turns import Conversation
from app.api.tools import (
    NamedFunction,
    NamedTool,
    check_rules,
    check_specs,
    function_spec,
    to_choice,
)
from app.inference.protocol import Generate
from app.models.text.tools import ToolSpec
from app.web.context import server_context

blueprint = Blueprint("api_anthropic_messages", __name__, url_prefix="/v1/messages")


@blueprint.post("")
async def create() -> Response:
    body = await http.parse_body(MessagesRequest)
    name, chosen = generation.model_name(body.model), body.chosen
    command = await _to_command(body, name, chosen | _thought_limit(body))
    completions = generation.open_completions(name, [command])
    pictures.hold(completions, command)
    http.start_with_connection(completions)
    omits = body.thinking is not None and body.thinking.display == "omitted"
    writer = BlockWriter(body.shows_thoughts, omits_thoughts=omits)
    reply = MessageReply(
        completions,
        body.model,
        request.path,
        writer,
        command.max_tokens,
        tuple(chosen.get("stop", ())),
    )
    if not body.stream:
        return http.json_response(await http.while_allowed(reply.whole()))
    await wait_first_event(completions)
    return http.sse(reply.events())


async def _to_command(body: MessagesRequest, name: str, chosen: dict[str, Any]) -> Generate:
    """Raises ApiError."""
    said = Conversation.of(body)
    wanted = _generate(body, said)
    made = generation.to_command(name, chosen, wanted)
    if not said.pictures:
        return made
    # Again with the pictures: what is wrong with the rest costs no decoding.
    shown = await pictures.show(name, wanted, said.pictures)
    return generation.to_command(name, chosen, shown)


@blueprint.post("/count_tokens")
async def count_tokens() -> Response:
    body = await http.parse_body(MessagesRequest)
    context, name = server_context(), generation.model_name(body.model)
    model = await asyncio.to_thread(context.store.get, name)
    said = Conversation.of(body)
    command = generation.to_command(name, {}, _generate(body, said))
    counted = await http.while_allowed(
        context.tokenization.count(model, command, len(said.pictures))
    )
    return http.json_response(TokensCount(counted))


def _generate(body: MessagesRequest, said: Conversation) -> Generate:
    output = body.output_config
    schema = output.format.schema if output is not None and output.format is not None else None
    rules = None if schema is None else json.dumps(schema)
    specs, choice = _tools(body.tools or ()), body.tool_choice
    wanted = to_choice(_choice(choice), specs)
    check_rules(specs, wanted, rules, "output_config")
    return Generate(
        id=0,
        turns=tuple(said.turns),
        allow_truncation=False,
        schema=rules,
        tools=specs,
        tool_choice=wanted,
        parallel_tool_calls=choice is None or not choice.disable_parallel_tool_use,
        think=body.shows_thoughts,
        effort=None if output is None else output.effort,
    )


def _tools(tools: Sequence[AnthropicTool]) -> tuple[ToolSpec, ...]:
    """Raises ApiError."""
    own = [tool for tool in tools if tool.type in {None, "custom"}]
    return check_specs([function_spec(t.name, t.description, t.input_schema) for t in own])


def _choice(given: AnthropicToolChoice | None) -> str | NamedTool | None:
    if given is None:
        return None
    if given.type == "tool":
        return NamedTool(NamedFunction(given.name or ""))
    return "required" if given.type == "any" else given.type


def _thought_limit(body: MessagesRequest) -> dict[str, Any]:
    budget = None if body.thinking is None else body.thinking.budget_tokens
    return {} if budget is None else {"max_thought_tokens": budget}
