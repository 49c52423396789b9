"""A user's own page: password, sessions, API keys, account deletion."""

from __future__ import annotations

import time
from typing import Final

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.api_keys import MAX_NAME_CHARS, SCOPES
from app.errors import AccountError, InvalidAccount, TooManyAttempts
from app.web.context import server_context
from app.web.pages.login import remember_device, sign_out
from app.web.render.dates import day_of, time_ago
from app.web.render.frame import render_page
from app.web.security.identity import current_user, identity

# The page of a user's API keys. A new one is shown once, in the answer to its making.

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
    return await render_page(
        "keys.html",
        status=status,
        keys=await context.api_keys.list_for_user(current_user()),
        offered=SCOPES,
        secret=secret,
        name=name,
        scopes=["chat"] if scopes is None else scopes,
        problems=problems or {},
        longest=MAX_NAME_CHARS,
        day_of=day_of,
    )


# A user's own page: password, sessions, and the way out for good.

blueprint = Blueprint("you", __name__, url_prefix="/you")
DONE: Final = {
    "password": "Password changed. All your other sessions have ended.",
    "name": "Name changed. Use it to log in from now on.",
    "login": "Session ended.",
    "links": "Link withdrawn.",
}


@blueprint.get("")
async def page() -> Response:
    return await _page()


@blueprint.post("/name")
async def change_name() -> Response | WerkzeugResponse:
    try:
        await server_context().users.rename(
            identity().user_id, (await request.form).get("name", "")
        )
    except InvalidAccount as error:
        return await _page(error.problems, error.status)
    return redirect("/you?done=name", 303)


@blueprint.post("/password")
async def change_password() -> Response | WerkzeugResponse:
    who, form = identity(), await request.form
    new = form.get("password", "")
    if new != form.get("again", ""):
        return await _page({"again": "The passwords do not match."}, 422)
    try:
        await server_context().users.change_password(
            who.user_id,
            form.get("old", ""),
            new,
            request.remote_addr or "",
            session_id=who.session_id,
        )
    except InvalidAccount as error:
        return await _page(error.problems, error.status)
    except AccountError as error:
        return await _page({"old": str(error)}, error.status, error)
    response = redirect("/you?done=password", 303)
    await remember_device(response, who.user_id)
    return response


@blueprint.post("/password-links/withdraw")
async def revoke_password_links() -> WerkzeugResponse:
    await server_context().users.revoke_password_links(identity().user_id)
    return redirect("/you?done=links", 303)


@blueprint.post("/logins/<int:session_id>/end")
async def end_session(session_id: int) -> WerkzeugResponse:
    who = identity()
    await server_context().sessions.revoke(who.user_id, session_id)
    return sign_out() if session_id == who.session_id else redirect("/you?done=login", 303)


@blueprint.post("/remove")
async def remove() -> Response | WerkzeugResponse:
    """The user and everything of theirs, for good; their password shows that they mean it."""
    context, who = server_context(), identity()
    password = (await request.form).get("sure", "")
    try:
        address = request.remote_addr or ""
        await context.users.confirm_password(
            who.user_id, password, address, session_id=who.session_id
        )
        await context.users.mark_for_deletion(who.user_id)
    except AccountError as error:
        return await _page({"sure": str(error)}, error.status, error)
    await context.account_deletion.complete(who.user_id)
    return sign_out()


async def _page(
    problems: dict[str, str] | None = None, status: int = 200, error: Exception | None = None
) -> Response:
    context, who = server_context(), identity()
    response = await render_page(
        "you.html",
        status=status,
        who=who,
        allowance=context.quotas.allowance(who.user_id),
        storage=await context.storage.usage(who.user_id),
        logins=await context.sessions.list_for_user(who.user_id) if who.session_id else (),
        links=await context.users.list_password_links(who.user_id) if who.session_id else (),
        problems=problems or {},
        given_name=(await request.form).get("name", "")[:80] if problems else "",
        done=DONE.get(request.args.get("done", ""), ""),
        day_of=day_of,
        ago=lambda at: time_ago(at, time.time()),
    )
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.seconds)
    return response
