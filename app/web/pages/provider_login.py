"""Logging in and out by an OpenID provider, and linking what it says of a user to an account."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
from quart import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.oidc.authorization import (
    EXPIRED,
    AuthorizationRequest,
    describe_refusal,
    new_request,
)
from app.accounts.oidc.claims import METHOD_PREFIX
from app.audit import audit
from app.errors import AccountError, LoginExpired, ProviderUnreachable
from app.web.addresses import public_url
from app.web.context import server_context
from app.web.pages import account, login
from app.web.render.frame import render_page
from app.web.security.auth import local_path, public
from app.web.security.authorization_cookies import find_request, forget_request, keep_request
from app.web.security.identity import identity, identity_or_none

if TYPE_CHECKING:
    from app.accounts.oidc.provider import IdentityProvider, ProviderAnswer

blueprint = Blueprint("provider_login", __name__)
ACCOUNT: Final = "/you"


@blueprint.get("/login/with/<name>")
@public
async def begin(name: str) -> Response | WerkzeugResponse:
    """Send the user to the provider: to log in, or with `link` to show who they are there."""
    provider, who = await _provider(name), identity_or_none()
    is_link, back = "link" in request.args, local_path(request.args.get("next", "/"))
    if is_link and (who is None or not who.session_id):
        return redirect(f"/login?next={ACCOUNT}", 303)
    if who is not None and not is_link:
        return redirect(back, 303)
    session_id = who.session_id if is_link and who is not None else 0
    started = new_request(name, back, time.time(), session_id)
    try:
        address = await provider.begin(started, _redirect_uri(name))
    except AccountError as error:
        return await _explain(error, name, started)
    response = redirect(address, 303)
    keep_request(response, started)
    return response


@blueprint.get("/login/with/<name>/callback")
@public
async def finish(name: str) -> Response | WerkzeugResponse:
    """Take the provider's answer, which the user's browser brings."""
    provider, state = await _provider(name), request.args.get("state", "")
    started: AuthorizationRequest | None = None
    response: Response | WerkzeugResponse
    try:
        started = find_request(name, state)
        response = await _accept(provider, started)
    except AccountError as error:
        refusal = request.args.get("error", "") if started is None else ""
        if started is None and identity_or_none() is not None:
            response = redirect("/", 303)  # the answer of a login that is over, once more
        elif refusal:  # some providers then forget whose it is, which does no harm
            response = await _explain(describe_refusal(provider.settings.title, refusal), name)
        else:
            response = await _explain(error, name, started)
    forget_request(response, state)
    return response


async def _accept(
    provider: IdentityProvider, started: AuthorizationRequest
) -> Response | WerkzeugResponse:
    """Log in, or ask whether to link. Raises AccountError."""
    if error := request.args.get("error", ""):
        raise describe_refusal(provider.settings.title, error)
    code, issuer = request.args.get("code", ""), request.args.get("iss")
    answer = await provider.finish(started, code, issuer, _redirect_uri(started.provider))
    if started.session_id:
        return await _ask_to_link(started, answer)
    context, address = server_context(), request.remote_addr or ""
    user = await context.identities.authenticate(answer.identity, address)
    response = await login.sign_in(user, started.back, answer.identity.method)
    await context.provider_sessions.add(
        identity().session_id,
        provider=started.provider,
        issuer=answer.identity.issuer,
        subject=answer.identity.subject,
        session=answer.session,
        id_token=answer.id_token,
        seconds=provider.settings.session,
    )
    return response


async def _ask_to_link(started: AuthorizationRequest, answer: ProviderAnswer) -> Response:
    """Show who that is there: only a form of this page links them. Raises LoginExpired."""
    who = identity_or_none()
    if who is None or who.session_id != started.session_id:
        raise LoginExpired(EXPIRED)
    ticket = server_context().pending_links.issue(who.user_id, (who.session_id, answer.identity))
    return await render_page(
        "link_identity.html",
        provider=started.provider,
        title=answer.identity.title,
        linked=answer.identity,
        who=who,
        ticket=ticket,
    )


@blueprint.post("/login/with/<name>/link")
async def link(name: str) -> Response | WerkzeugResponse:
    who, context = identity(), server_context()
    pending = context.pending_links.use((await request.form).get("ticket", ""))
    try:
        if pending is None or pending[0] != who.session_id:
            raise LoginExpired(EXPIRED)
        await context.identities.link(who.user_id, pending[1])
    except AccountError as error:
        return await account.explain_link(error)
    return redirect(f"{ACCOUNT}?done=linked", 303)


# Logging out.


@blueprint.get("/login/with/<name>/logout")
@public
async def log_out(name: str) -> Response | WerkzeugResponse:
    """Lead to where the provider's own session ends, whose user has just logged out here."""
    provider, context = await _provider(name), server_context()
    ended = context.provider_sessions.find_logout(request.args.get("ticket", ""))
    if ended is None or ended.provider != name:
        return redirect("/login?out=yes", 303)
    try:
        return_to = public_url(f"/login/with/{name}/out")
        address = await provider.end_session_address(ended.id_token, return_to)
    except AccountError as error:
        return await login.explain(error)
    return redirect(address or "/login?out=yes", 303)


@blueprint.get("/login/with/<name>/out")
@public
async def logged_out(name: str) -> WerkzeugResponse:
    """Come back from there. An address without a query, as providers compare it."""
    return redirect("/login?out=yes", 303)


@blueprint.post("/login/with/<name>/backchannel")
@public
async def end_sessions(name: str) -> Response:
    """End the sessions that the provider itself says, signed, that it has ended."""
    provider, context = await _provider(name), server_context()
    token = (await request.form).get("logout_token", "")
    try:
        issuer, subject, session = await provider.read_logout_token(token)
    except AccountError as error:
        audit("refused", what="logout token", address=request.remote_addr)
        status = error.status if isinstance(error, ProviderUnreachable) else 400
        content = {"error": "invalid_request", "error_description": str(error)}
        return Response(msgspec.json.encode(content), status, content_type="application/json")
    await context.provider_sessions.end(provider.settings.name, issuer, subject, session)
    return Response(status=200)


# What all of these need.


async def _provider(name: str) -> IdentityProvider:
    context = server_context()
    provider = await context.providers.open(name) if context.settings.has_accounts else None
    if provider is None:
        abort(404)
    return provider


def _redirect_uri(name: str) -> str:
    return public_url(f"/login/with/{name}/callback")


async def _explain(
    error: AccountError, name: str, started: AuthorizationRequest | None = None
) -> Response:
    """Say what went wrong where the user came from."""
    audit(
        "login-failed",
        method=METHOD_PREFIX + name,
        reason=type(error).__name__,
        address=request.remote_addr,
    )
    if started is not None and started.session_id and identity_or_none() is not None:
        return await account.explain_link(error)
    return await login.explain(error, started.back if started is not None else "/")
