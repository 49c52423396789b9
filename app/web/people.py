"""The owner's page about people: who is there, who is invited, and who may come in.

It shows names and times, and nothing of what anybody has written.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.people import People
from app.config import is_loopback
from app.errors import NotAllowed
from app.store.people import Role
from app.web.base_path import public_url
from app.web.entrance import for_owners
from app.web.identity import identity
from app.web.security import host_name
from app.web.sidebar import ago, day_of
from app.web.sockets import RELOAD
from app.web.state import state

blueprint = Blueprint("people", __name__, url_prefix="/people")
Decision = Callable[[People, int], Awaitable[None]]
DECISIONS: Final[dict[str, Decision]] = {
    "disable": lambda people, user_id: people.disable(user_id),
    "enable": lambda people, user_id: people.enable(user_id),
    "make-owner": lambda people, user_id: people.set_role(user_id, "owner"),
    "make-member": lambda people, user_id: people.set_role(user_id, "member"),
}
DONE: Final = {"remove": "This person is gone, with everything of theirs."}


@blueprint.get("")
@for_owners
async def page() -> Response:
    return await _page()


@blueprint.post("/invite")
@for_owners
async def invite() -> Response:
    """The link is shown now and never again."""
    role: Role = "owner" if (await request.form).get("role") == "owner" else "member"
    token = await state().people.invite(role, identity().user_id)
    return await _page(link=_link(token), purpose=f"For somebody new, who becomes {_a(role)}.")


@blueprint.post("/invites/<int:invite_id>/withdraw")
@for_owners
async def withdraw(invite_id: int) -> WerkzeugResponse:
    await state().people.withdraw(invite_id)
    return redirect("/people", 303)


@blueprint.post("/<int:user_id>/new-password")
@for_owners
async def new_password(user_id: int) -> Response:
    """A link by which the person chooses one; until then the old one holds."""
    people = state().people
    person = await people.find(user_id)
    token = await people.reset_token(user_id, identity().user_id)
    return await _page(link=_link(token), purpose=f"For {person.name}, to choose a new password.")


@blueprint.post("/<int:user_id>/<any('disable', 'enable', 'make-owner', 'make-member'):verb>")
@for_owners
async def decide(user_id: int, verb: str) -> WerkzeugResponse:
    here = state()
    if verb == "disable":
        _check_other(user_id)
    await DECISIONS[verb](here.people, user_id)
    if verb == "disable":
        await here.leaving.stop(user_id)
    elif verb != "enable":  # what their open pages offer is another than before
        here.hub.close(RELOAD, user_id)
    return redirect("/people", 303)


@blueprint.get("/<int:user_id>/remove")
@for_owners
async def ask_to_remove(user_id: int) -> Response:
    here = state()
    person = await here.people.find(user_id)
    return _html(here.fragments.render("remove_person.html", person=person))


@blueprint.post("/<int:user_id>/remove")
@for_owners
async def remove(user_id: int) -> WerkzeugResponse:
    """The person and everything of theirs, for good."""
    here = state()
    _check_other(user_id)
    await here.people.begin_to_leave(user_id)
    await here.leaving.finish(user_id)
    return redirect("/people?done=remove", 303)


def _check_other(user_id: int) -> None:
    if user_id == identity().user_id:
        raise NotAllowed("This is you. To leave, go to your own page, please.")


async def _page(link: str = "", purpose: str = "") -> Response:
    here = state()
    html = here.fragments.render(
        "people.html",
        has_accounts=here.settings.has_accounts,
        people=[p for p in await here.people.everybody() if p.has_password or p.id != 1],
        invitations=await here.people.invitations(),
        link=link,
        purpose=purpose,
        is_here_only=bool(link) and is_loopback(host_name(request.host)),
        done=DONE.get(request.args.get("done", ""), ""),
        day_of=day_of,
        ago=lambda at: ago(at, time.time()),
    )
    return _html(html)


def _link(token: str) -> str:
    return public_url(f"/join/{token}")


def _a(role: Role) -> str:
    return "an owner" if role == "owner" else "a member"


def _html(html: str) -> Response:
    return Response(html, content_type="text/html; charset=utf-8")
