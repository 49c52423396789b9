"""A whole page: its own part in the frame that all pages share, with the list of chats."""

from __future__ import annotations

from typing import Any

from quart import Response, request

from app.web.context import server_context
from app.web.render import sidebar
from app.web.render.sidebar import SidebarContext
from app.web.security.identity import current_user


async def render_page(
    template: str, *, status: int = 200, chat_id: str = "", **values: Any
) -> Response:
    """Render a page for its user. `chat_id`: the chat it shows, where it shows one."""
    context = server_context()
    version = context.hub.version  # before anything is read, so that a change meanwhile is noticed
    listed, until = await sidebar.render_all(SidebarContext(context, current_user(), chat_id))
    frame: dict[str, object] = {
        "version": version,
        "sidebar": listed,
        "until": until or "",
        "chat_id": chat_id,
    }
    frame["is_answer"] = request.method == "POST"
    html = context.fragments.render(template, **frame | values)
    return Response(html, status=status, content_type="text/html; charset=utf-8")
