"""Compression of text, and our own scripts and styles as one file each."""

from __future__ import annotations

import asyncio
import functools
import gzip

from quart import Blueprint, Quart, Response, request
from quart.wrappers.response import DataBody, FileBody

from app.web.assets import SCRIPTS, STYLES
from app.web.context import server_context
from app.web.security.auth import public

# Our own scripts and our own styles, each as one file.


blueprint = Blueprint("bundles", __name__, url_prefix="/static")


@blueprint.get(f"/{SCRIPTS}")
@public
async def scripts() -> Response:
    content = server_context().fragments.assets.content(SCRIPTS)
    return Response(content, content_type="text/javascript; charset=utf-8")


@blueprint.get(f"/{STYLES}")
@public
async def styles() -> Response:
    content = server_context().fragments.assets.content(STYLES)
    return Response(content, content_type="text/css; charset=utf-8")


# Text goes out compressed: it is what a page consists of, and gzip makes a quarter of it.


MIN_BYTES = 500  # bytes; less fits into one packet anyway
MAX_BYTES = 16 << 20  # what is larger would only fill memory
TEXT = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "image/svg+xml",
    }
)


def compress(app: Quart) -> None:
    """Compress what this application answers, where that is safe and worth it."""

    @app.after_request
    async def shrink(response: Response) -> Response:
        if not _is_text(response):
            return response
        response.headers.add("Vary", "Accept-Encoding, Sec-Fetch-Site")
        if not _is_wanted():
            return response
        whole = await response.get_data(as_text=False)
        if not MIN_BYTES <= len(whole) <= MAX_BYTES:
            return response
        if "immutable" in response.headers.get("Cache-Control", ""):
            packed = await asyncio.to_thread(_pack_once, whole)
        else:
            packed = await asyncio.to_thread(gzip.compress, whole, 5)
        response.set_data(packed)
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("Accept-Ranges", None)
        response.headers.pop("ETag", None)  # it named the bytes before
        return response


def _is_text(response: Response) -> bool:
    """Whole answers only; what is made while it is sent is left alone."""
    return (
        response.status_code == 200
        and isinstance(response.response, (DataBody, FileBody))
        and ((mimetype := response.mimetype or "").startswith("text/") or mimetype in TEXT)
        and "Content-Encoding" not in response.headers
    )


def _is_wanted() -> bool:
    """Return whether this request may have its answer compressed.

    A foreign website that makes a browser ask for our pages, again and again with other words in
    the address, could learn from the sizes of the encrypted answers what else they say (BREACH).
    Browsers say who asks, and what another site asks for is not compressed.
    """
    return (
        request.method == "GET"
        and request.accept_encodings.quality("gzip") > 0
        and request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
    )


@functools.lru_cache(maxsize=64)
def _pack_once(whole: bytes) -> bytes:
    """The same files are asked for by every page, so they get the best compression, once."""
    return gzip.compress(whole, 9, mtime=0)
