"""Comparing models: one prompt goes to several, and their answers stand side by side."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from quart import Blueprint, Response, request

from app.conversations.answer_state import MessageRef
from app.conversations.submission import Prompt
from app.errors import ChatError, WickError
from app.web.context import server_context, services_of
from app.web.live.chat import parse_prompt
from app.web.render.chat import models_ready
from app.web.render.comparison import load_comparison
from app.web.render.frame import render_page
from app.web.security.identity import current_user

blueprint = Blueprint("comparison", __name__, url_prefix="/chats/<chat_id>")
MOST_MODELS: Final = 3
"""Models that answer one prompt at the same time."""


@blueprint.get("/compare")
async def ask_for_prompt(chat_id: str) -> str:
    """Ask which models are to answer what is in the composer."""
    await services_of(chat_id).chats.get(current_user(), chat_id)  # refuses another user's
    return await _dialog(f"/chats/{chat_id}/compare", [request.args.get("model", "")])


@blueprint.post("/compare")
async def submit(chat_id: str) -> Response:
    """Send a message to several models, or say in the dialog why not."""
    await services_of(chat_id).chats.get(current_user(), chat_id)
    form = await request.form
    models = form.getlist("models")
    try:
        prompt = parse_prompt(form.to_dict(), current_user(), chat_id)
        return await _submit(prompt, _chosen(models, least=2))
    except WickError as error:
        return await _refuse(f"/chats/{chat_id}/compare", models, error)


async def _submit(prompt: Prompt, models: Sequence[str]) -> Response:
    services = services_of(prompt.chat_id)
    for model in models:
        services.answers.resolve_settings(model)
    answer = await services.answers.submit(replace(prompt, model=models[0]))
    prompt_id = answer.prompt_id or 0
    ref = MessageRef(prompt.user_id, prompt.chat_id, prompt_id)
    await services.branches.compare(ref, models[1:], prompt.client_id)
    return _redirect(prompt.chat_id, prompt_id)


@blueprint.get("/messages/<int:message_id>/compare")
async def ask_for_answer(chat_id: str, message_id: int) -> str:
    """Ask which other models are to answer the prompt of an answer."""
    message = await services_of(chat_id).branches.get(
        MessageRef(current_user(), chat_id, message_id)
    )
    address = f"/chats/{chat_id}/messages/{message_id}/compare"
    return await _dialog(address, [], besides=message.model or "")


@blueprint.post("/messages/<int:message_id>/compare")
async def compare(chat_id: str, message_id: int) -> Response:
    """Let other models answer as well, or say in the dialog why not."""
    branches, form = services_of(chat_id).branches, await request.form
    ref, models = MessageRef(current_user(), chat_id, message_id), form.getlist("models")
    message = await branches.get(ref)
    key = form.get("client_id", "")
    if not 8 <= len(key) <= 64 or not key.isalnum():
        raise ChatError("Wick did not understand this request. Reload the page.")
    try:
        answers = await branches.compare(ref, _chosen(models, least=1), key)
    except WickError as error:
        address = f"/chats/{chat_id}/messages/{message_id}/compare"
        return await _refuse(address, models, error, besides=message.model or "")
    return _redirect(chat_id, answers[0].prompt_id or 0)


def _chosen(models: Sequence[str], *, least: int) -> list[str]:
    chosen = list(dict.fromkeys(models))
    if not least <= len(chosen) <= MOST_MODELS:
        raise ChatError(f"Choose {least} to {MOST_MODELS} models.")
    return chosen


def _redirect(chat_id: str, prompt_id: int) -> Response:
    address = f"/chats/{chat_id}/compare/{prompt_id}"
    return Response(status=204, headers={"HX-Redirect": address})


async def _refuse(
    address: str, models: Sequence[str], error: WickError, besides: str = ""
) -> Response:
    html = await _dialog(address, models, besides=besides, error=str(error))
    return Response(html, status=error.status, content_type="text/html; charset=utf-8")


async def _dialog(
    address: str, checked: Sequence[str], *, besides: str = "", error: str = ""
) -> str:
    """besides: the model of the answer that is there; without one, the composer's text is sent."""
    context = server_context()
    return context.fragments.render(
        "_compare.html",
        address=address,
        options=[option for option in await models_ready(context) if option.name != besides],
        checked=checked,
        is_new=not besides,
        error=error,
        client_id=secrets.token_hex(16),
    )


@blueprint.post("/messages/<int:message_id>/use")
async def use(chat_id: str, message_id: int) -> Response:
    """Let the chat go on from one of the answers."""
    await services_of(chat_id).branches.select_branch(
        MessageRef(current_user(), chat_id, message_id)
    )
    return Response(status=204, headers={"HX-Redirect": f"/chats/{chat_id}"})


@blueprint.get("/compare/<int:prompt_id>")
async def page(chat_id: str, prompt_id: int) -> Response:
    """Render the prompt, and its answers in columns."""
    context = server_context()
    version = context.hub.version
    seen = await load_comparison(context, MessageRef(current_user(), chat_id, prompt_id))
    fragments = context.fragments
    return await render_page(
        "compare.html",
        chat_id=chat_id,
        version=version,
        prompt=seen.prompt,
        columns=fragments.columns(seen.answers),
        actions=fragments.comparison_actions(chat_id, is_running=seen.is_running, oob=False),
    )
