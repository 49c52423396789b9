"""The page of a person's API keys. A new one is shown once, in the answer to its making."""

from __future__ import annotations

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.keys import LONGEST_NAME, SCOPES
from app.errors import InvalidAccount
from app.web.identity import current_user
from app.web.sidebar import day_of
from app.web.state import state

blueprint = Blueprint("keys", __name__, url_prefix="/keys")


@blueprint.get("")
async def page() -> Response:
    return await _page()


@blueprint.post("")
async def add() -> Response:
    form = await request.form
    name, scopes = form.get("name", ""), form.getlist("scope")
    try:
        secret, _ = await state().keys.add(current_user(), name, scopes)
    except InvalidAccount as error:
        return await _page(name=name, scopes=scopes, problems=error.problems, status=error.status)
    return await _page(secret=secret)


@blueprint.post("/<int:key_id>/revoke")
async def revoke(key_id: int) -> WerkzeugResponse:
    await state().keys.revoke(current_user(), key_id)
    return redirect("/keys", 303)


async def _page(
    *,
    secret: str = "",
    name: str = "",
    scopes: list[str] | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    here = state()
    html = here.fragments.render(
        "keys.html",
        keys=await here.keys.of(current_user()),
        offered=SCOPES,
        secret=secret,
        name=name,
        scopes=["chat"] if scopes is None else scopes,
        problems=problems or {},
        longest=LONGEST_NAME,
        day_of=day_of,
    )
    return Response(html, status=status, content_type="text/html; charset=utf-8")
