"""Logging in and out, and the pages that need no login for it."""

from __future__ import annotations

from quart import Blueprint, Response, g, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.accounts.devices import device_of
from app.accounts.shown import DEVICE, LOGIN
from app.errors import AccountError, InvalidAccount, TooManyAttempts
from app.store.people import Person
from app.web import cookies, csrf
from app.web.entrance import for_everybody, local_path
from app.web.identity import identity, visitor
from app.web.state import state

blueprint = Blueprint("login", __name__)
FORM_EXPIRED = "This form was open for too long. Please try again."


@blueprint.get("/login")
@for_everybody
async def page() -> Response | WerkzeugResponse:
    back = local_path(request.args.get("next", "/"))
    if visitor() is not None:
        return redirect(back, 303)
    return await _form(back)


@blueprint.post("/login")
@for_everybody
async def log_in() -> Response | WerkzeugResponse:
    """Never says whether it is the name or the password that is wrong."""
    form = await request.form
    back, name = local_path(form.get("next", "/")), form.get("name", "")[:200]
    if not state().settings.has_accounts:
        return redirect(back, 303)
    if visitor() is None and not await csrf.is_own_form():
        return await _form(back, name, FORM_EXPIRED, 403)
    address = request.remote_addr or ""
    known = cookies.read(request.cookies, DEVICE, is_secure=request.is_secure)
    password, people = form.get("password", ""), state().people
    try:
        person = await people.show_themself(name, password, address, known=known)
    except AccountError as error:
        return await _form(back, name, str(error), error.status, error)
    return await enter(person, back)


async def enter(person: Person, back: str) -> Response | WerkzeugResponse:
    """A login of its own for this browser, whatever it had before."""
    here, response = state(), redirect(back, 303)
    who = visitor()
    if who is not None and who.via == "login":
        await here.logins.end(who.user_id, who.login_id)
    device = device_of(request.headers.get("User-Agent", ""))
    token, _ = await here.logins.begin(person.id, device, request.remote_addr or "")
    g.new_token = token
    await keep_known(response, person.id)
    return response


async def keep_known(response: WerkzeugResponse, user_id: int) -> None:
    """From now on this browser is one of theirs."""
    known = await state().people.known_here(user_id)
    cookies.put(response, DEVICE, known, is_secure=request.is_secure)


@blueprint.post("/logout")
async def log_out() -> WerkzeugResponse:
    who = identity()
    if who.via == "login":
        await state().logins.end(who.user_id, who.login_id)
    return outside()


@blueprint.post("/logout/everywhere")
async def log_out_everywhere() -> WerkzeugResponse:
    await state().logins.end_all(identity().user_id)
    return outside()


@blueprint.get("/login/alive")
@for_everybody
async def alive() -> Response:
    """For pages whose socket was closed: whether their login still holds."""
    return Response(status=204 if visitor() is not None else 401)


@blueprint.get("/join/<token>")
@for_everybody
async def invitation(token: str) -> Response | WerkzeugResponse:
    """Where the link of an invitation leads."""
    return await _join_form(token)


@blueprint.post("/join/<token>")
@for_everybody
async def join(token: str) -> Response | WerkzeugResponse:
    form = await request.form
    name, password = form.get("name", "")[:200], form.get("password", "")
    if visitor() is None and not await csrf.is_own_form():
        return await _join_form(token, name, {"form": FORM_EXPIRED}, 403)
    if password != form.get("again", ""):
        problem = {"again": "These two passwords are not the same."}
        return await _join_form(token, name, problem, 422)
    try:
        person = await state().people.join(token, name, password)
    except InvalidAccount as error:
        return await _join_form(token, name, error.problems, error.status)
    return await enter(person, "/")


def outside() -> WerkzeugResponse:
    response = redirect("/login?out=yes", 303)
    g.new_token = None
    cookies.drop(response, LOGIN, is_secure=request.is_secure)
    return response


async def _form(
    back: str, name: str = "", problem: str = "", status: int = 200, error: Exception | None = None
) -> Response:
    has_owner = await state().people.have_owner()
    response = _page(
        "login.html",
        status,
        back=back,
        name=name,
        problem=problem,
        has_owner=has_owner,
        is_out="out" in request.args,
    )
    if isinstance(error, TooManyAttempts):
        response.headers["Retry-After"] = str(error.seconds)
    return response


async def _join_form(
    token: str, name: str = "", problems: dict[str, str] | None = None, status: int = 200
) -> Response | WerkzeugResponse:
    """Raises InviteNotFound."""
    here = state()
    if not here.settings.has_accounts:
        return redirect("/", 303)
    invite = await here.people.invitation(token)
    is_first = not await here.people.have_owner()
    known = ""
    if invite.user_id is not None and not is_first:
        known = (await here.people.find(invite.user_id)).name
    return _page(
        "join.html",
        status,
        token=token,
        name=name,
        known=known,
        is_first=is_first,
        problems=problems or {},
    )


def _page(template: str, status: int, **values: object) -> Response:
    who = visitor()
    token = who.csrf if who is not None else csrf.new_token()
    html = state().fragments.render(template, csrf=token, **values)
    response = Response(html, status=status, content_type="text/html; charset=utf-8")
    if who is None:
        csrf.keep(response, token)
    return response
