"""The page of a person's API keys. A new one is shown once, in the answer to its making."""

from __future__ import annotations

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.keys import MAX_NAME_CHARS, SCOPES
from app.errors import InvalidAccount
from app.web.identity import current_user
from app.web.sidebar import day_of
from app.web.state import server_context

keys_blueprint = Blueprint("keys", __name__, url_prefix="/keys")


@keys_blueprint.get("")
async def keys_page() -> Response:
    return await _keys_page()


@keys_blueprint.post("")
async def add_key() -> Response:
    form = await request.form
    name, scopes = form.get("name", ""), form.getlist("scope")
    try:
        secret, _ = await server_context().api_keys.add(current_user(), name, scopes)
    except InvalidAccount as error:
        return await _keys_page(
            name=name, scopes=scopes, problems=error.problems, status=error.status
        )
    return await _keys_page(secret=secret)


@keys_blueprint.post("/<int:key_id>/revoke")
async def revoke_key(key_id: int) -> WerkzeugResponse:
    await server_context().api_keys.revoke(current_user(), key_id)
    return redirect("/keys", 303)


async def _keys_page(
    *,
    secret: str = "",
    name: str = "",
    scopes: list[str] | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    context = server_context()
    html = context.fragments.render(
        "keys.html",
        keys=await context.api_keys.list_for_user(current_user()),
        offered=SCOPES,
        secret=secret,
        name=name,
        scopes=["chat"] if scopes is None else scopes,
        problems=problems or {},
        longest=MAX_NAME_CHARS,
        day_of=day_of,
    )
    return Response(html, status=status, content_type="text/html; charset=utf-8")
