"""The owners' page of tools: MCP servers, what they offer, and who may use them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from quart import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from app.db.mcp_servers import McpAccess, McpServer
from app.db.users import User
from app.errors import InvalidToolServer
from app.media.extras import EXTRAS
from app.media.setup import SetupTask
from app.tools.mcp.config import MAX_NAME_CHARS, McpServerValues, parse_secrets
from app.tools.mcp.protocol import McpTool, Offers
from app.tools.mcp.servers import offers_from
from app.tools.mcp.source import named_tools
from app.web.context import server_context
from app.web.render.dates import time_ago
from app.web.render.frame import render_page
from app.web.security.auth import owner_required

blueprint = Blueprint("tool_servers", __name__, url_prefix="/tools")
EXTRA: Final = EXTRAS["mcp"]
DOWNLOAD_MB: Final = 12
ACCESS: Final[dict[McpAccess, str]] = {
    "owners": "Owners",
    "chosen": "Owners and chosen members",
    "everyone": "Everyone",
}
_FIELDS: Final = ("name", "target", "access")
DONE: Final = {"removed": "Tool server removed.", "saved": "Saved."}


@dataclass(frozen=True, slots=True)
class ToolServerView:
    """A server as its owners see it. tools: with their names for models; chosen: ids of users."""

    server: McpServer
    offers: Offers
    tools: tuple[tuple[str, McpTool], ...]
    is_testing: bool
    is_running: bool
    chosen: frozenset[int]
    checked: str

    @property
    def status(self) -> str:
        """State in words."""
        if self.is_testing:
            return "Testing…"
        if not self.server.is_on:
            return "Switched off"
        if self.server.checked_at is None:
            return "Not tested yet"
        if self.server.error:
            return f"Failed {self.checked}: {self.server.error}"
        counts = [
            _count(len(self.tools), "tool"),
            _count(len(self.offers.resources), "resource"),
            _count(len(self.offers.prompts), "prompt"),
        ]
        return f"{', '.join(filter(None, counts)) or 'Offers nothing'} · listed {self.checked}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


@blueprint.get("")
@owner_required
async def page() -> Response:
    return await _page()


@blueprint.post("")
@owner_required
async def add() -> Response | WerkzeugResponse:
    """Add a server, and test it at once."""
    form, context = await request.form, server_context()
    try:
        values = McpServerValues(
            form.get("name", ""),
            form.get("target", ""),
            parse_secrets(form.get("secrets", "")),
            form.get("access", ""),
        )
        server = await context.mcp_servers.add(values)
    except InvalidToolServer as error:
        return await _page(error)
    if context.mcp_servers.is_set_up:
        context.mcp_servers.start_test(server.id)
    return redirect(f"/tools#server-{server.id}", 303)


@blueprint.get("/<int:server_id>")
@owner_required
async def show(server_id: int) -> str:
    """Render one server anew, while it is tested."""
    context = server_context()
    view = await _view(await context.mcp_servers.get(server_id))
    users = await _members()
    return context.fragments.render("_tool_server.html", view=view, members=users, access=ACCESS)


@blueprint.post("/<int:server_id>")
@owner_required
async def edit(server_id: int) -> Response | WerkzeugResponse:
    """Change what a server is, and test it at once; secrets that are not written again stay."""
    form, servers = await request.form, server_context().mcp_servers
    try:
        secrets = parse_secrets(form.get("secrets", ""))
        await servers.change(server_id, form.get("target", ""), secrets)
    except InvalidToolServer as error:
        return await _page(error, changed=server_id)
    if servers.is_set_up:
        servers.start_test(server_id)
    return redirect(f"/tools#server-{server_id}", 303)


@blueprint.post("/<int:server_id>/<any('test', 'switch-on', 'switch-off', 'remove'):verb>")
@owner_required
async def change(server_id: int, verb: str) -> WerkzeugResponse:
    servers = server_context().mcp_servers
    if verb == "test":
        await servers.get(server_id)
        servers.ensure_set_up()
        servers.start_test(server_id)
    elif verb == "remove":
        await servers.remove(server_id)
        return redirect("/tools?done=removed", 303)
    else:
        await servers.switch(server_id, is_on=verb == "switch-on")
    return redirect(f"/tools#server-{server_id}", 303)


@blueprint.post("/<int:server_id>/access")
@owner_required
async def set_access(server_id: int) -> WerkzeugResponse:
    form = await request.form
    given = form.get("access", "")
    access = next((one for one in ACCESS if one == given), None)
    if access is None:
        raise InvalidToolServer({"access": "Choose who may use it."})
    chosen = [int(one) for one in form.getlist("user") if one.isdecimal() and len(one) < 16]
    await server_context().mcp_servers.set_access(server_id, access, chosen)
    return redirect(f"/tools?done=saved#server-{server_id}", 303)


@blueprint.get("/setup")
@owner_required
async def setup_state() -> str:
    """Render how far setting up is."""
    return server_context().fragments.render("_tools_set_up.html", **_setup())


@blueprint.post("/setup")
@owner_required
async def set_up() -> WerkzeugResponse:
    server_context().media.setup.start(EXTRA.name)
    return redirect("/tools", 303)


def _setup() -> dict[str, Any]:
    context = server_context()
    task: SetupTask | None = context.media.setup.get(EXTRA.name)
    return {
        "is_set_up": context.mcp_servers.is_set_up,
        "task": task,
        "extra": EXTRA,
        "download": DOWNLOAD_MB,
    }


async def _page(error: InvalidToolServer | None = None, changed: int = 0) -> Response:
    """Render the page. changed: the server in whose form the error was made, 0 for a new one."""
    form = await request.form if error is not None else {}
    problems = {} if error is None else error.problems
    servers = await server_context().mcp_servers.list_all()
    return await render_page(
        "tool_servers.html",
        status=200 if error is None else error.status,
        views=[await _view(server) for server in servers],
        members=await _members(),
        access=ACCESS,
        # What was secret is typed again.
        values={name: "" if changed else form.get(name, "") for name in _FIELDS},
        problems={} if changed else problems,
        changed=changed,
        wrong=problems if changed else {},
        given=form.get("target", ""),
        longest_name=MAX_NAME_CHARS,
        done=DONE.get(request.args.get("done", ""), ""),
        **_setup(),
    )


async def _view(server: McpServer) -> ToolServerView:
    servers = server_context().mcp_servers
    chosen = (await servers.chosen_users()).get(server.id, set())
    return ToolServerView(
        server,
        offers_from(server.offers),
        tuple(named_tools(server)),
        servers.is_testing(server.id),
        servers.is_running(server.id),
        frozenset(chosen),
        "" if server.checked_at is None else time_ago(server.checked_at, time.time()),
    )


async def _members() -> list[User]:
    """List members who can be chosen; owners may use all servers anyway."""
    context = server_context()
    if not context.settings.has_accounts:
        return []
    found = await context.users.list_users()
    return [user for user in found if user.role != "owner" and user.has_password]
