"""A user's own page: password, sessions, API keys, account deletion."""

from __future__ import annotations

import time
from typing import Final

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.api_keys import MAX_NAME_CHARS, SCOPES
from app.accounts.external_identities import PROXY, ExternalIdentity
from app.accounts.one_time_codes import CODE, RECOVERY_CODE
from app.accounts.passkeys import PASSKEY
from app.accounts.users import username_key
from app.db.users import User
from app.errors import (
    AccountError,
    IdentityRefused,
    InvalidAccount,
    TooManyAttempts,
    WrongPassword,
)
from app.web.context import server_context
from app.web.pages.login import remember_device, sign_out
from app.web.render.dates import day_of, time_ago
from app.web.render.frame import render_page
from app.web.render.provider_buttons import linkable_providers
from app.web.security.identity import Identity, current_user, identity
from app.web.security.proxy_login import proxied_identity

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
    "linked": "Login linked.",
    "unlinked": "Login unlinked.",
}
METHODS: Final = {
    "password": "with a password",
    CODE: "with a password and a code",
    RECOVERY_CODE: "with a password and a recovery code",
    PASSKEY: "with a passkey",
    PROXY: "through the proxy",
}
"""Ways in which a session was begun."""


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


@blueprint.post("/identities/link")
async def link_identity() -> Response | WerkzeugResponse:
    """Let the user whom the proxy names enter as the one who is logged in."""
    who, proxied = identity(), proxied_identity(request.scope)
    try:
        if proxied is None:
            raise IdentityRefused("The proxy names no user.")
        await server_context().identities.link(who.user_id, proxied)
    except IdentityRefused as error:
        return await _page({"link": str(error)}, error.status)
    return redirect("/you?done=linked", 303)


@blueprint.post("/identities/unlink")
async def unlink_identity() -> Response | WerkzeugResponse:
    form, identities = await request.form, server_context().identities
    try:
        await identities.unlink(current_user(), form.get("issuer", ""), form.get("subject", ""))
    except IdentityRefused as error:
        return await _page({"link": str(error)}, error.status)
    return redirect("/you?done=unlinked", 303)


@blueprint.post("/remove")
async def remove() -> Response | WerkzeugResponse:
    """The user and everything of theirs, for good; their password shows that they mean it."""
    context, who = server_context(), identity()
    try:
        await _confirm(who, await context.users.get(who.user_id))
        await context.users.mark_for_deletion(who.user_id)
    except AccountError as error:
        return await _page({"sure": str(error)}, error.status, error)
    await context.account_deletion.complete(who.user_id)
    return sign_out()


async def _confirm(who: Identity, user: User) -> None:
    """Check the password in the form, or the name of a user without one. Raises AccountError."""
    given = (await request.form).get("sure", "")
    if user.has_password:
        await server_context().users.confirm_password(
            user.id, given, request.remote_addr or "", session_id=who.session_id
        )
    elif username_key(given) != username_key(user.name):
        raise WrongPassword("This is not your name.")


async def explain_link(error: AccountError) -> Response:
    """Render the page with why a login was not linked."""
    return await _page({"link": str(error)}, error.status)


async def _page(
    problems: dict[str, str] | None = None, status: int = 200, error: Exception | None = None
) -> Response:
    context, who = server_context(), identity()
    user = await context.users.get(who.user_id)
    linked = await context.identities.list_for_user(who.user_id)
    response = await render_page(
        "you.html",
        status=status,
        who=who,
        allowance=context.quotas.allowance(who.user_id),
        storage=await context.storage.usage(who.user_id),
        logins=await context.sessions.list_for_user(who.user_id) if who.session_id else (),
        linked=linked,
        linkable=await _linkable_identity(),
        linkable_providers=linkable_providers(linked) if who.session_id else (),
        has_password=not who.session_id or user.has_password,
        passkeys=await context.passkeys.list_for_user(who.user_id),
        codes=await context.codes.get(who.user_id) if user.has_codes else None,
        method_of=lambda method: METHODS.get(method) or context.providers.describe_method(method),
        title_of=lambda issuer: (
            "Proxy" if issuer == PROXY else context.providers.title_of_issuer(issuer)
        ),
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


async def _linkable_identity() -> ExternalIdentity | None:
    """Return the user that a proxy names, if nobody here is theirs yet."""
    proxied = proxied_identity(request.scope)
    if proxied is None or not identity().session_id:
        return None
    known = await server_context().identities.user_of(PROXY, proxied.subject)
    return proxied if known is None else None
