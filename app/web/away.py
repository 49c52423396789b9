"""Pages of chats that were put away, with more lines as one scrolls: the archive and the trash."""

from __future__ import annotations

from quart import Response, request

from app.store.lists import Cursor, ListName
from app.web.identity import current_user
from app.web.state import server_context


async def render_chat_list(name: ListName, page: str, lines: str, **values: object) -> Response:
    """The template `page`, or with `?after=` and for its own script only more of its `lines`."""
    context = server_context()
    after = Cursor.parse(request.args.get("after", ""))
    chats, more = await context.chats.page(current_user(), name, after)
    html = context.fragments.render(lines, chats=chats, more=more or "", **values)
    if not request.headers.get("HX-Request"):
        html = context.fragments.render(page, lines=html, is_empty=not chats, **values)
    return Response(html, content_type="text/html; charset=utf-8")
