"""Passkeys: how a browser logs in with one, and the page on which users add and remove theirs.

`static/lazy/passkeys.js` asks the device for what the server wants, and sends its answer as a form.
"""

from __future__ import annotations

import time
from typing import Final

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.passkeys import MAX_PASSKEY_NAME_CHARS, PASSKEY
from app.accounts.sessions import PASSKEY_COOKIE
from app.errors import AccountError, InvalidAccount, TooManyAttempts
from app.web.context import server_context
from app.web.pages.login import FORM_EXPIRED, render_login, sign_in
from app.web.render.dates import day_of, time_ago
from app.web.render.frame import render_page
from app.web.security import auth
from app.web.security.auth import local_path, public
from app.web.security.identity import identity, identity_or_none
from app.web.security.passkey_site import passkey_obstacle, relying_party

# Logging in.

login_blueprint = Blueprint("login_passkey", __name__, url_prefix="/login/passkey")


@login_blueprint.post("/options")
@public
async def login_options() -> Response:
    try:
        options, token = await server_context().passkeys.login_options(relying_party())
    except AccountError as error:
        return _refusal(error)
    return _options(options, token)


@login_blueprint.post("")
@public
async def log_in() -> Response | WerkzeugResponse:
    """Log in with what the device has signed; no password and no code is asked for."""
    form, context = await request.form, server_context()
    back = local_path(form.get("next", "/"))
    if not context.settings.has_accounts:
        return redirect(back, 303)
    if identity_or_none() is None and not await auth.is_own_form():
        return await render_login(back, problem=FORM_EXPIRED, status=403)
    try:
        user = await context.passkeys.authenticate(
            *(relying_party(), _token(), form.get("response", ""), request.remote_addr or "")
        )
    except AccountError as error:
        return await render_login(back, "", str(error), error.status, error)
    response = await sign_in(user, back, PASSKEY)
    _forget_token(response)
    return response


# On the account page of each user.

blueprint = Blueprint("passkeys", __name__, url_prefix="/you/passkeys")
DONE: Final = {"added": "Passkey added.", "removed": "Passkey removed."}


@blueprint.get("")
async def page() -> Response | WerkzeugResponse:
    return await _page() if identity().session_id else redirect("/you", 303)


@blueprint.post("/options")
async def registration_options() -> Response:
    """Return the options of a new passkey to a user who has confirmed their password."""
    who, context = identity(), server_context()
    password = (await request.form).get("password", "")
    try:
        party = relying_party()
        await context.users.confirm_password(
            who.user_id, password, request.remote_addr or "", session_id=who.session_id
        )
        options, token = await context.passkeys.registration_options(
            who.user_id, who.session_id, party
        )
    except AccountError as error:
        return _refusal(error)
    return _options(options, token)


@blueprint.post("")
async def add() -> Response | WerkzeugResponse:
    who, form = identity(), await request.form
    try:
        await server_context().passkeys.register(
            *(who.user_id, who.session_id, relying_party(), _token()),
            form.get("response", ""),
            form.get("name", ""),
        )
    except InvalidAccount as error:
        return await _page(error.problems, error.status)
    except AccountError as error:
        return await _page({"passkey": str(error)}, error.status)
    response = redirect("/you/passkeys?done=added", 303)
    _forget_token(response)
    return response


@blueprint.post("/<int:passkey_id>/remove")
async def remove(passkey_id: int) -> WerkzeugResponse:
    await server_context().passkeys.remove(identity().user_id, passkey_id)
    return redirect("/you/passkeys?done=removed", 303)


async def _page(problems: dict[str, str] | None = None, status: int = 200) -> Response:
    context, who = server_context(), identity()
    return await render_page(
        "passkeys.html",
        status=status,
        who=who,
        kept=await context.passkeys.list_for_user(who.user_id),
        has_password=(await context.users.get(who.user_id)).has_password,
        obstacle=passkey_obstacle(),
        problems=problems or {},
        given_name=(await request.form).get("name", "")[:MAX_PASSKEY_NAME_CHARS],
        longest=MAX_PASSKEY_NAME_CHARS,
        done=DONE.get(request.args.get("done", ""), ""),
        day_of=day_of,
        ago=lambda at: time_ago(at, time.time()),
    )


# The token of a challenge stays with the browser that was given it.


def _options(options: str, token: str) -> Response:
    response = Response(options, content_type="application/json")
    auth.set_cookie(response, PASSKEY_COOKIE, token, is_secure=request.is_secure)
    return response


def _refusal(error: AccountError) -> Response:
    """Answer the script of the page, which shows the sentence."""
    plain = "text/plain; charset=utf-8"
    response = Response(str(error), status=error.status, content_type=plain)
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.seconds)
    return response


def _token() -> str:
    return auth.read_cookie(request.cookies, PASSKEY_COOKIE, is_secure=request.is_secure)


def _forget_token(response: Response | WerkzeugResponse) -> None:
    auth.delete_cookie(response, PASSKEY_COOKIE, is_secure=request.is_secure)
