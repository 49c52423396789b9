"""The page of chats that were put away but are to stay."""

from __future__ import annotations

from quart import Blueprint, Response, request

from app.store.lists import Cursor
from app.web.identity import current_user
from app.web.sidebar import day_of
from app.web.state import state

blueprint = Blueprint("archive", __name__, url_prefix="/archive")


@blueprint.get("")
async def page() -> Response:
    """The page, or with `?after=` and for its own script only more of its lines."""
    here = state()
    after = Cursor.parse(request.args.get("after", ""))
    chats, more = await here.chats.page(current_user(), "archived", after)
    lines = here.fragments.render("_archived.html", chats=chats, more=more or "", day_of=day_of)
    if request.headers.get("HX-Request"):
        return Response(lines, content_type="text/html; charset=utf-8")
    html = here.fragments.render("archive.html", lines=lines, is_empty=not chats)
    return Response(html, content_type="text/html; charset=utf-8")
