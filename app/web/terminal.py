"""The desk over HTTP: `wick user` and `wick key` have the running server do what they want.

So the database has one writer, and what ends with somebody's login ends at once.
"""

from __future__ import annotations

import inspect
from typing import Final

import msgspec
from quart import Blueprint, Response, abort, request

from app.accounts.desk import VERBS, Desk
from app.web.entrance import for_terminal
from app.web.state import state

blueprint = Blueprint("terminal", __name__)
UNKNOWN: Final = "This Wick does not know this command: is it another version?"


@blueprint.post("/terminal/<verb>")
@for_terminal
async def do(verb: str) -> Response:
    """One of the desk's VERBS, with its arguments by name as JSON; what it gives, as JSON."""
    here = state()
    desk = Desk(here.people, here.keys, here.leaving.stop, here.leaving.finish)
    if verb not in VERBS:
        abort(404, UNKNOWN)
    method = getattr(desk, verb)
    try:
        given = inspect.signature(method).bind(**msgspec.json.decode(await request.get_data()))
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
        abort(400, UNKNOWN)
    content = msgspec.json.encode(await method(*given.args, **given.kwargs))
    return Response(content, content_type="application/json")
