"""One-time codes: the page that asks for one at a login, and the one on which users set them up."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.one_time_codes import RECOVERY_CODES
from app.accounts.sessions import DEVICE_COOKIE
from app.errors import AccountError, LoginExpired, TooManyAttempts
from app.net import is_loopback
from app.web.context import server_context
from app.web.pages.login import FORM_EXPIRED, render_gate, render_login, sign_in
from app.web.render.dates import day_of
from app.web.render.frame import render_page
from app.web.render.qr_code import QrCode
from app.web.security import auth
from app.web.security.auth import public
from app.web.security.hosts import host_name
from app.web.security.identity import identity, identity_or_none
from app.web.security.second_step import forget_ticket, pending_ticket

# At a login, after the password.

login_blueprint = Blueprint("login_code", __name__, url_prefix="/login/code")


@login_blueprint.get("")
@public
async def code_page() -> Response | WerkzeugResponse:
    if await server_context().codes.pending_login(pending_ticket()) is None:
        return redirect("/login", 303)
    return await _code_page()


@login_blueprint.post("")
@public
async def enter_code() -> Response | WerkzeugResponse:
    """Log in with a code, or a recovery code."""
    form, codes, ticket = await request.form, server_context().codes, pending_ticket()
    if identity_or_none() is None and not await auth.is_own_form():
        return await _code_page(FORM_EXPIRED, 403)
    known = auth.read_cookie(request.cookies, DEVICE_COOKIE, is_secure=request.is_secure)
    recovery = form.get("recovery", "")
    pending = await codes.pending_login(ticket)
    try:
        user, method = await codes.finish_login(
            ticket, form.get("code", "") or recovery, request.remote_addr or "", device_token=known
        )
    except LoginExpired as error:
        return await _expired(pending.back if pending else "/", error)
    except AccountError as error:
        return await _code_page(str(error), error.status, error, is_recovery=bool(recovery))
    response = await sign_in(user, pending.back if pending else "/", method)
    forget_ticket(response)
    return response


@login_blueprint.post("/cancel")
@public
async def cancel() -> WerkzeugResponse:
    """Forget a login that waits for its code: another user wants to log in."""
    if identity_or_none() is not None or await auth.is_own_form():
        server_context().codes.forget_login(pending_ticket())
    response = redirect("/login", 303)
    forget_ticket(response)
    return response


async def _code_page(
    problem: str = "",
    status: int = 200,
    error: Exception | None = None,
    *,
    is_recovery: bool = False,
) -> Response:
    response = render_gate("login_code.html", status, problem=problem, is_recovery=is_recovery)
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.seconds)
    return response


async def _expired(back: str, error: LoginExpired) -> Response:
    response = await render_login(back, problem=str(error), status=error.status)
    forget_ticket(response)
    return response


# On the account page of each user: turned on with a code, and off with the password.

blueprint = Blueprint("codes", __name__, url_prefix="/you/codes")
DONE: Final = {"off": "One-time codes are off. Your password alone logs you in."}


@blueprint.get("")
async def page() -> Response | WerkzeugResponse:
    return await _page() if identity().session_id else redirect("/you", 303)


@blueprint.post("/set-up")
async def set_up() -> Response:
    """Show a new secret to the app of a user who has confirmed their password."""
    who, codes = identity(), server_context().codes
    try:
        await _confirm_password()
    except AccountError as error:
        return await _page({"password": str(error)}, error.status, error)
    name = host_name(request.host)
    ticket = await codes.begin_setup(who.user_id, "" if is_loopback(name) else name)
    return await _page(ticket=ticket)


@blueprint.post("/confirm")
async def confirm() -> Response:
    form, ticket = await request.form, (await request.form).get("ticket", "")
    try:
        recovery_codes = await server_context().codes.turn_on(
            identity().user_id, ticket, form.get("code", "")
        )
    except AccountError as error:
        return await _page({"code": str(error)}, error.status, ticket=ticket)
    return await _page(recovery_codes=recovery_codes)


@blueprint.post("/recovery")
async def renew_recovery_codes() -> Response:
    """Show new recovery codes to a user who has confirmed their password."""
    try:
        await _confirm_password()
        recovery_codes = await server_context().codes.renew_recovery_codes(identity().user_id)
    except AccountError as error:
        return await _page({"renew": str(error)}, error.status, error)
    return await _page(recovery_codes=recovery_codes)


@blueprint.post("/off")
async def turn_off() -> Response | WerkzeugResponse:
    user_id = identity().user_id
    try:
        await _confirm_password()
    except AccountError as error:
        return await _page({"off": str(error)}, error.status, error)
    await server_context().codes.turn_off(user_id, by=user_id)
    return redirect("/you/codes?done=off", 303)


async def _confirm_password() -> None:
    """Check the password in the form. Raises AccountError."""
    who, password = identity(), (await request.form).get("password", "")
    await server_context().users.confirm_password(
        who.user_id, password, request.remote_addr or "", session_id=who.session_id
    )


async def _page(
    problems: dict[str, str] | None = None,
    status: int = 200,
    error: Exception | None = None,
    *,
    ticket: str = "",
    recovery_codes: list[str] | None = None,
) -> Response:
    context, who = server_context(), identity()
    setup = context.codes.setup_of(who.user_id, ticket) if ticket else None
    response = await render_page(
        "codes.html",
        status=status,
        who=who,
        kept=await context.codes.get(who.user_id),
        has_password=(await context.users.get(who.user_id)).has_password,
        ticket=ticket,
        setup=setup,
        qr_code=QrCode.of(setup.uri) if setup else None,
        recovery_codes=recovery_codes,
        most=RECOVERY_CODES,
        problems=problems or {},
        done=DONE.get(request.args.get("done", ""), ""),
        day_of=day_of,
    )
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.seconds)
    return response
