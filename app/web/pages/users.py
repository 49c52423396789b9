"""The owners' page of users and invites, and the actions of `wick user`, `wick key`
and `wick mcp`."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from quart import Blueprint, Response, abort, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.admin import OPERATIONS, AccountAdmin
from app.accounts.users import Users
from app.db.users import Role
from app.errors import NotAllowed
from app.net import is_loopback
from app.tools.mcp.admin import MCP_OPERATIONS
from app.web.addresses import public_url
from app.web.context import RELOAD, server_context
from app.web.render.dates import day_of, time_ago
from app.web.render.frame import render_page
from app.web.security.auth import local_cli_only, owner_required
from app.web.security.hosts import host_name
from app.web.security.identity import identity

# Administration over HTTP: the running server does what `wick user` and `wick key` want.
#
# So the database has one writer, and what ends with somebody's login ends at once.


admin_blueprint = Blueprint("terminal", __name__)
UNKNOWN: Final = "This Wick does not know this command: is it another version?"


@admin_blueprint.post("/terminal/<verb>")
@local_cli_only
async def call(verb: str) -> Response:
    """Run an operation of an admin: its arguments by name as JSON, what it returns as JSON."""
    context = server_context()
    accounts = AccountAdmin(
        context.users,
        context.api_keys,
        context.codes,
        context.account_deletion.stop,
        context.account_deletion.complete,
    )
    if verb in OPERATIONS:
        method = getattr(accounts, OPERATIONS[verb])
    elif verb in MCP_OPERATIONS:
        method = getattr(context.mcp_admin, MCP_OPERATIONS[verb])
    else:
        abort(404, UNKNOWN)
    try:
        given = inspect.signature(method).bind(**msgspec.json.decode(await request.get_data()))
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
        abort(400, UNKNOWN)
    content = msgspec.json.encode(await method(*given.args, **given.kwargs))
    return Response(content, content_type="application/json")


# The owner's page about people: who is there, who is invited, and who may come in.
#
# It shows names and times, and nothing of what anybody has written.


blueprint = Blueprint("people", __name__, url_prefix="/people")
Decision = Callable[[Users, int], Awaitable[None]]
DECISIONS: Final[dict[str, Decision]] = {
    "disable": lambda people, user_id: people.disable(user_id),
    "enable": lambda people, user_id: people.enable(user_id),
    "make-owner": lambda people, user_id: people.set_role(user_id, "owner"),
    "make-member": lambda people, user_id: people.set_role(user_id, "member"),
}
DONE: Final = {"remove": "User removed.", "codes-off": "One-time codes turned off."}


@blueprint.get("")
@owner_required
async def page() -> Response:
    return await _page()


@blueprint.post("/invite")
@owner_required
async def invite() -> Response:
    """The link is shown now and never again."""
    role: Role = "owner" if (await request.form).get("role") == "owner" else "member"
    token = await server_context().users.invite(role, identity().user_id)
    return await _page(link=_link(token), purpose=f"Invite for {_indefinite(role)}.")


@blueprint.post("/invites/<int:invite_id>/withdraw")
@owner_required
async def withdraw(invite_id: int) -> WerkzeugResponse:
    await server_context().users.revoke_invite(invite_id)
    return redirect("/people", 303)


@blueprint.post("/<int:user_id>/new-password")
@owner_required
async def new_password(user_id: int) -> Response:
    """A link by which the user chooses one; until then the old one holds."""
    users = server_context().users
    user = await users.get(user_id)
    token = await users.reset_token(user_id, identity().user_id)
    return await _page(link=_link(token), purpose=f"Password reset link for {user.name}.")


@blueprint.post("/<int:user_id>/<any('disable', 'enable', 'make-owner', 'make-member'):verb>")
@owner_required
async def change_user(user_id: int, verb: str) -> WerkzeugResponse:
    context = server_context()
    if verb == "disable":
        _check_other(user_id)
    await DECISIONS[verb](context.users, user_id)
    if verb == "disable":
        await context.account_deletion.stop(user_id)
    elif verb != "enable":  # what their open pages offer is another than before
        context.hub.close(RELOAD, user_id)
    return redirect("/people", 303)


@blueprint.post("/<int:user_id>/codes-off")
@owner_required
async def turn_off_codes(user_id: int) -> WerkzeugResponse:
    """Let a user who has lost app and recovery codes log in by their password alone."""
    context = server_context()
    _check_other(user_id)
    await context.codes.turn_off((await context.users.get(user_id)).id, by=identity().user_id)
    return redirect("/people?done=codes-off", 303)


@blueprint.get("/<int:user_id>/remove")
@owner_required
async def ask_to_remove(user_id: int) -> Response:
    context = server_context()
    user = await context.users.get(user_id)
    return await render_page("remove_user.html", user=user)


@blueprint.post("/<int:user_id>/remove")
@owner_required
async def remove(user_id: int) -> WerkzeugResponse:
    """The user and everything of theirs, for good."""
    context = server_context()
    _check_other(user_id)
    await context.users.mark_for_deletion(user_id)
    await context.account_deletion.complete(user_id)
    return redirect("/people?done=remove", 303)


def _check_other(user_id: int) -> None:
    if user_id == identity().user_id:
        raise NotAllowed("You cannot do this to your own account here. Use your account page.")


async def _page(link: str = "", purpose: str = "") -> Response:
    context = server_context()
    listed = [p for p in await context.users.list_users() if p.has_password or p.id != 1]
    return await render_page(
        "users.html",
        has_accounts=context.settings.has_accounts,
        users=listed,
        storage={user.id: await context.storage.usage(user.id) for user in listed},
        invitations=await context.users.list_invites(),
        link=link,
        purpose=purpose,
        is_here_only=bool(link) and is_loopback(host_name(request.host)),
        done=DONE.get(request.args.get("done", ""), ""),
        day_of=day_of,
        ago=lambda at: time_ago(at, time.time()),
    )


def _link(token: str) -> str:
    return public_url(f"/join/{token}")


def _indefinite(role: Role) -> str:
    return "an owner" if role == "owner" else "a member"
