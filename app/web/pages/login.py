"""Logging in and out, and the pages that need no login for it."""

from __future__ import annotations

from quart import Blueprint, Response, g, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.sessions import DEVICE_COOKIE, SESSION_COOKIE
from app.db.users import User
from app.errors import AccountError, IdentityRefused, InvalidAccount, TooManyAttempts
from app.web.context import server_context
from app.web.render.provider_buttons import provider_buttons, provider_logout
from app.web.security import auth
from app.web.security.auth import local_path, public
from app.web.security.identity import identity, identity_or_none
from app.web.security.passkey_site import offers_passkeys
from app.web.security.proxy_login import proxied_identity
from app.web.security.second_step import require_code

blueprint = Blueprint("login", __name__)
FORM_EXPIRED = "This form has expired. Try again."


@blueprint.get("/login")
@public
async def page() -> Response | WerkzeugResponse:
    back = local_path(request.args.get("next", "/"))
    if identity_or_none() is not None:
        return redirect(back, 303)
    if "out" in request.args:  # who has logged out does not come in again by itself
        return await render_login(back)
    try:
        entered = await auth.enter_by_proxy()
    except IdentityRefused as error:
        return await render_login(back, problem=str(error))
    return await render_login(back) if entered is None else redirect(back, 303)


@blueprint.post("/login")
@public
async def log_in() -> Response | WerkzeugResponse:
    """Log in; an error never says whether the name or the password is wrong."""
    form = await request.form
    back, name = local_path(form.get("next", "/")), form.get("name", "")[:200]
    if not server_context().settings.has_accounts:
        return redirect(back, 303)
    if identity_or_none() is None and not await auth.is_own_form():
        return await render_login(back, name, FORM_EXPIRED, 403)
    address = request.remote_addr or ""
    known = auth.read_cookie(request.cookies, DEVICE_COOKIE, is_secure=request.is_secure)
    password, users = form.get("password", ""), server_context().users
    try:
        user = await users.authenticate(name, password, address, device_token=known)
    except AccountError as error:
        return await render_login(back, name, str(error), error.status, error)
    return await sign_in_by_password(user, back)


async def sign_in_by_password(user: User, back: str) -> Response | WerkzeugResponse:
    """Ask for a code where the user has turned them on; there is no session before it."""
    return await require_code(user, back) or await sign_in(user, back)


async def sign_in(user: User, back: str, method: str = "password") -> Response | WerkzeugResponse:
    """A login of its own for this browser, whatever it had before."""
    context, response = server_context(), redirect(back, 303)
    who = identity_or_none()
    if who is not None and who.via == "login":
        await context.sessions.revoke(who.user_id, who.session_id)
    await auth.begin_session(user, method)
    await remember_device(response, user.id)
    return response


async def remember_device(response: WerkzeugResponse, user_id: int) -> None:
    """Mark this browser as one in which the user has logged in."""
    known = await server_context().users.issue_device_token(user_id)
    if known:
        auth.set_cookie(response, DEVICE_COOKIE, known, is_secure=request.is_secure)


@blueprint.post("/logout")
async def log_out() -> WerkzeugResponse:
    who, context, ticket = identity(), server_context(), ""
    if who.via == "login":
        ticket = await context.provider_sessions.prepare_logout(who.user_id, who.session_id)
        await context.sessions.revoke(who.user_id, who.session_id)
    return sign_out(ticket)


@blueprint.post("/logout/everywhere")
async def log_out_everywhere() -> WerkzeugResponse:
    who, context = identity(), server_context()
    ticket = await context.provider_sessions.prepare_logout(who.user_id, who.session_id)
    await context.sessions.revoke_all(who.user_id)
    return sign_out(ticket)


@blueprint.get("/login/alive")
@public
async def session_status() -> Response:
    """Say whether the session holds, for pages whose socket was closed."""
    return Response(status=204 if identity_or_none() is not None else 401)


@blueprint.get("/join/<token>")
@public
async def invitation(token: str) -> Response | WerkzeugResponse:
    """Show the form that the link of an invite leads to."""
    return await _join_form(token)


@blueprint.post("/join/<token>")
@public
async def join(token: str) -> Response | WerkzeugResponse:
    form = await request.form
    name, password = form.get("name", "")[:200], form.get("password", "")
    if identity_or_none() is None and not await auth.is_own_form():
        return await _join_form(token, name, {"form": FORM_EXPIRED}, 403)
    if password != form.get("again", ""):
        problem = {"again": "The passwords do not match."}
        return await _join_form(token, name, problem, 422)
    try:
        user = await server_context().users.accept_invite(token, name, password)
    except InvalidAccount as error:
        return await _join_form(token, name, error.problems, error.status)
    return await sign_in_by_password(user, "/")


def sign_out(ticket: str = "") -> WerkzeugResponse:
    """Forget the session that has ended. `ticket`: to end that of its provider, too."""
    response = redirect(f"/login?out=yes{'&ticket=' if ticket else ''}{ticket}", 303)
    g.new_token = None
    auth.delete_cookie(response, SESSION_COOKIE, is_secure=request.is_secure)
    return response


async def explain(error: AccountError, back: str = "/") -> Response:
    """Render the login page with what went wrong on another way in."""
    return await render_login(back, problem=str(error), status=error.status, error=error)


async def render_login(
    back: str, name: str = "", problem: str = "", status: int = 200, error: Exception | None = None
) -> Response:
    """Render the form for name and password, with the other ways to log in."""
    has_owner, proxied = await server_context().users.has_owner(), proxied_identity(request.scope)
    response = render_gate(
        "login.html",
        status,
        back=back,
        name=name,
        problem=problem,
        has_owner=has_owner,
        has_passkeys=await offers_passkeys(),
        is_out="out" in request.args,
        proxied=proxied,
        proxy_logout=_proxy_logout() if proxied else "",
        providers=provider_buttons(),
        provider_logout=provider_logout(request.args.get("ticket", "")),
        ticket=request.args.get("ticket", ""),
    )
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.seconds)
    return response


def _proxy_logout() -> str:
    """Return where the proxy logs users out; its paths are not below Wick's base path."""
    address = server_context().settings.auth_logout
    return f"{request.scheme}://{request.host}{address}" if address.startswith("/") else address


async def _join_form(
    token: str, name: str = "", problems: dict[str, str] | None = None, status: int = 200
) -> Response | WerkzeugResponse:
    """Render the form of an invite. Raises InviteNotFound."""
    context = server_context()
    if not context.settings.has_accounts:
        return redirect("/", 303)
    invite = await context.users.get_invite(token)
    is_first = not await context.users.has_owner()
    known = ""
    if invite.user_id is not None and not is_first:
        known = (await context.users.get(invite.user_id)).name
    return render_gate(
        "join.html",
        status,
        token=token,
        name=name,
        known=known,
        is_first=is_first,
        problems=problems or {},
    )


def render_gate(template: str, status: int, **values: object) -> Response:
    """Render a page that needs no login, with the token of its form."""
    who = identity_or_none()
    token = who.csrf if who is not None else auth.new_token()
    html = server_context().fragments.render(template, csrf=token, **values)
    response = Response(html, status=status, content_type="text/html; charset=utf-8")
    if who is None:
        auth.store_token(response, token)
    return response
