"""Static files as pages ask for them: named by their content, and the many small ones as one.

A module of `static` does one job, so there are many of them; a request for each would cost more
than what is in them. They are joined when they are served, so nothing has to be built.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from quart import Blueprint, Response, current_app

SCRIPTS, FRAME_SCRIPTS, STYLES = "all.js", "frame.js", "all.css"
FRAME = frozenset(
    {
        "code.js",
        "composition.js",
        "confirm.js",
        "copy.js",
        "focus.js",
        "fold.js",
        "folders.js",
        "grow.js",
        "heartbeat.js",
        "keys.js",
        "leave.js",
        "menus.js",
        "palette.js",
        "panels.js",
        "roving.js",
        "sidebar.js",
        "toasts.js",
        "unreachable.js",
    }
)
"""The modules that every page has; the page of a chat has them with all others."""
STANDALONE = frozenset({"arrivals.js", "early.js", "preferences.js", "upload.js"})
"""Not for the page of a chat, or, as `early.js` is, not to wait until that page is there.

What lies in `static/lazy` is in no bundle: a page imports it when it is first used.
"""


blueprint = Blueprint("bundles", __name__, url_prefix="/static")


class Assets:
    """The files of one folder, read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @functools.cache  # noqa: B019 - one instance per server, few names
    def address(self, name: str) -> str:
        """Return an address with the hash of its content: browsers may keep it for good."""
        return f"/static/{name}?v={hashlib.sha256(self.content(name)).hexdigest()[:12]}"

    @functools.cache  # noqa: B019
    def content(self, name: str) -> bytes:
        if name in {SCRIPTS, FRAME_SCRIPTS}:
            modules = sorted(self._folder.glob("*.js"))
            wanted = [m for m in modules if name == SCRIPTS or m.name in FRAME]
            return b"".join(self._module(path) for path in wanted)
        if name == STYLES:
            # Layout first: what comes later refines it.
            first = self._folder / "wick.css"
            others = sorted(path for path in self._folder.glob("*.css") if path != first)
            return b"".join(path.read_bytes() for path in [first, *others])
        return (self._folder / name).read_bytes()

    def _module(self, path: Path) -> bytes:
        """Wrap a module in a block: its names stay its own, and its failure harms no other."""
        if path.name in STANDALONE:
            return b""
        return b"try {\n" + path.read_bytes() + b"} catch (error) { console.error(error); }\n"


@blueprint.get(f"/{SCRIPTS}")
async def scripts() -> Response:
    return _script(SCRIPTS)


@blueprint.get(f"/{FRAME_SCRIPTS}")
async def frame_scripts() -> Response:
    return _script(FRAME_SCRIPTS)


@blueprint.get(f"/{STYLES}")
async def styles() -> Response:
    return Response(_served().content(STYLES), content_type="text/css; charset=utf-8")


def _script(name: str) -> Response:
    return Response(_served().content(name), content_type="text/javascript; charset=utf-8")


def _served() -> Assets:
    found: Assets = current_app.extensions["wick"].fragments.assets
    return found
