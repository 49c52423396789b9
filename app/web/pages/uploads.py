"""Uploading a model from the page: a file of any size, held in memory nowhere."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from quart import Blueprint, Response, jsonify, request

from app.audit import audit
from app.conversations.settings import sanitize_text
from app.errors import PullError, PullRefused
from app.models.install.projector import receive_projector
from app.models.install.upload import UploadManifest, group_uploads
from app.web.addresses import public_path
from app.web.bodies import UPLOAD_PREFIX
from app.web.context import server_context
from app.web.security.auth import owner_required
from app.web.security.identity import current_user

blueprint = Blueprint("uploads", __name__)
MAX_FILES: Final = 2000
"""Files that are chosen at once."""


def _check_size(size: int) -> None:
    most = server_context().settings.upload_mb
    if size > most << 20:
        audit("limit-reached", limit="size of an upload", user=current_user())
        raise PullRefused(f"This file is too large: the limit is {most:,} MB.")


async def _checked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Check sizes while chunks come, whatever the sender said of them."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        _check_size(size)
        yield piece


@blueprint.post("/models/uploads")
@owner_required
async def plan() -> Response:
    """Take the list of chosen files before gigabytes of them come: `[{name, size}]`.

    Answers how to send it: for each model an address, and which files are its body. What will not
    do is a sentence now, since a browser that is sending hears no answer before it has finished.
    """
    found = []
    for parcel, places in group_uploads(_selected_files(await request.get_data(as_text=False))):
        _check_size(sum(parcel.sizes or ()))
        await asyncio.to_thread(server_context().pulls.check, parcel)
        sizes = "&".join(f"part={size}" for size in parcel.sizes or ())
        address = public_path(f"{UPLOAD_PREFIX}{quote(parcel.file, safe='')}?{sizes}")
        found.append({"address": address, "files": places})
    return jsonify(found)


@blueprint.put(f"{UPLOAD_PREFIX}<filename>")
@owner_required
async def upload(filename: str) -> Response:
    """The raw file as the body, or all parts of a model, of which `part` tells the sizes.

    How far it is comes over the sockets.
    """
    _check_size(request.content_length or 0)
    await server_context().pulls.receive(_manifest(filename), _checked(request.body))
    return Response(status=204)


@blueprint.get(f"{UPLOAD_PREFIX}<filename>")
@owner_required
async def upload_result(filename: str) -> Response:
    """Return why what was being sent there broke off: browsers do not hear an answer that
    came early.
    """
    pulls, name = server_context().pulls, _manifest(filename).name
    pull = pulls.get(name)
    if pull is not None and pull.error:
        raise PullRefused(pull.error)
    if pulls.was_cancelled(name):
        raise PullRefused("The upload was cancelled.")
    raise PullError("The upload was interrupted. Try again.")


PROJECTOR_PREFIX: Final = f"{UPLOAD_PREFIX}projector/"


@blueprint.get("/models/<name>/projector")
@owner_required
async def projector(name: str) -> str:
    """Ask for the projector of a model."""
    model = await asyncio.to_thread(server_context().store.get, name)
    address = public_path(f"{PROJECTOR_PREFIX}{quote(name)}")
    return server_context().fragments.render("_projector.html", model=model, address=address)


@blueprint.put(f"{PROJECTOR_PREFIX}<name>")
@owner_required
async def upload_projector(name: str) -> Response:
    """Put the raw file of the body beside a model, which is loaded with it the next time."""
    _check_size(request.content_length or 0)
    await receive_projector(
        server_context().store, name, _checked(request.body), request.content_length or 0
    )
    return _projector_changed(name)


@blueprint.get(f"{PROJECTOR_PREFIX}<name>")
@owner_required
async def projector_result(name: str) -> Response:
    """Say that what was being sent there broke off."""
    raise PullError("The upload was interrupted. Try again.")


@blueprint.delete(f"{PROJECTOR_PREFIX}<name>")
@owner_required
async def remove_projector(name: str) -> Response:
    await asyncio.to_thread(server_context().store.remove_projector, name)
    return _projector_changed(name)


def _projector_changed(name: str) -> Response:
    context = server_context()
    context.pool.settings_changed(name)
    context.hub.models_changed()
    return Response(status=204)


def _selected_files(selected: str | bytes) -> list[tuple[str, int]]:
    """Names and sizes. Raises PullRefused for what a page of ours would not tell."""
    try:
        files = list(json.loads(selected))[:MAX_FILES]
        chosen = [(sanitize_text(str(file["name"])), int(file["size"])) for file in files]
    except (TypeError, KeyError, ValueError, OverflowError, RecursionError):
        chosen = []
    if not chosen:
        raise PullRefused("Choose a GGUF file.")
    return chosen


def _manifest(filename: str) -> UploadManifest:
    """Parse what is announced of an upload. Raises PullRefused for sizes that are none."""
    file = filename.replace("\\", "/").rpartition("/")[2]
    selected = request.args.getlist("part")
    if not all(re.fullmatch("[0-9]{1,18}", size) for size in selected):
        raise PullRefused("The sizes of the parts are invalid.")
    sizes = tuple(int(size) for size in selected)
    announced = request.content_length
    if announced is not None and not sizes:
        sizes = (announced,)
    return UploadManifest(file, sizes or None)
