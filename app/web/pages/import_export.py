"""Chats as files: out of Wick, and into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from quart import Blueprint, Response, request
from quart.datastructures import FileStorage

from app.age import (
    ENDING,
    MAX_PASSPHRASE_BYTES,
    MEDIA_TYPE,
    MIN_PASSPHRASE_CHARS,
    check_passphrase,
    encrypt_pieces,
)
from app.conversations.exports import file_name
from app.conversations.imports.imports import DISK_FULL_MESSAGE
from app.conversations.imports.reader import MAX_FILE_BYTES
from app.errors import DiskFull, InvalidMessage, InvalidPassphrase
from app.web.bodies import IMPORT_PATH
from app.web.context import server_context
from app.web.pages.chat import get_saved_chat_or_404
from app.web.render.frame import render_page
from app.web.security.identity import current_user

blueprint = Blueprint("exchange", __name__)


HTML: Final = "text/html; charset=utf-8"


@blueprint.get("/exchange")
async def page() -> Response:
    return await _page()


async def _page(problem: str = "", status: int = 200) -> Response:
    """problem: with the passphrase of an export."""
    return await render_page(
        "exchange.html",
        status=status,
        limit=MAX_FILE_BYTES >> 20,
        problem=problem,
        shortest=MIN_PASSPHRASE_CHARS,
        longest=MAX_PASSPHRASE_BYTES,
    )


@blueprint.get("/chats/<chat_id>/export.md")
async def one_markdown(chat_id: str) -> Response:
    chat = await get_saved_chat_or_404(chat_id)
    pieces = server_context().exports.markdown(chat)
    return await _file(pieces, file_name(chat.title, "md"), "text/markdown; charset=utf-8")


@blueprint.get("/chats/<chat_id>/export.json")
async def one_json(chat_id: str) -> Response:
    chat = await get_saved_chat_or_404(chat_id)
    pieces = server_context().exports.json(chat)
    return await _file(pieces, file_name(chat.title, "json"), "application/json")


@blueprint.get("/exchange/chats.json")
async def all_json() -> Response:
    pieces = server_context().exports.all_json(current_user())
    return await _file(pieces, "wick-chats.json", "application/json")


@blueprint.get("/exchange/chats.zip")
async def all_markdown() -> Response:
    pieces = server_context().exports.all_markdown(current_user())
    return await _file(pieces, "wick-chats.zip", "application/zip")


@blueprint.post("/exchange/chats.json")
async def protected_json() -> Response:
    pieces = server_context().exports.all_json(current_user())
    return await _protected(pieces, "wick-chats.json")


@blueprint.post("/exchange/chats.zip")
async def protected_markdown() -> Response:
    pieces = server_context().exports.all_markdown(current_user())
    return await _protected(pieces, "wick-chats.zip")


async def _protected(pieces: AsyncIterator[bytes], name: str) -> Response:
    """The export encrypted by the passphrase of the form; a problem with that is a sentence."""
    form = await request.form
    passphrase = form.get("passphrase", "")
    try:
        check_passphrase(passphrase)
        if passphrase != form.get("again", ""):
            raise InvalidPassphrase("The passphrases do not match.")
    except InvalidPassphrase as error:
        return await _page(problem=str(error), status=422)
    return await _file(encrypt_pieces(pieces, passphrase), f"{name}{ENDING}", MEDIA_TYPE)


@blueprint.post(IMPORT_PATH)
async def import_chats() -> Response | str:
    """A file of chats. What became of it is a sentence."""
    if request.content_length is None:  # a body without an end that is known could fill the disk
        raise InvalidMessage("The browser did not send the size of this file.")
    imports, user_id = server_context().imports, current_user()
    await asyncio.to_thread(server_context().reserve.check_space, 2 * request.content_length)
    with imports.reserve_slot(user_id):
        file = await _sent_file()
        if file is None or not file.filename:
            raise InvalidMessage("Choose a file first.")
        passphrase = (await request.form).get("passphrase", "")
        try:
            report = await imports.import_file(user_id, file.stream, passphrase)
        except InvalidPassphrase as error:
            return Response(_passphrase_field(str(error)), status=422, content_type=HTML)
    notice = server_context().fragments.notice(report.sentence, details=report.details)
    return notice + _passphrase_field()


def _passphrase_field(problem: str = "") -> str:
    """The field for a file's passphrase, with what is wrong; nothing without a problem."""
    fragments = server_context().fragments
    field = fragments.render("_passphrase.html", problem=problem) if problem else ""
    return fragments.inside("#import-passphrase", field)


async def _sent_file() -> FileStorage | None:
    """The file in the form. Raises DiskFull: what is large lies on the disk while it comes."""
    try:
        return (await request.files).get("file")
    except OSError as error:
        raise DiskFull(DISK_FULL_MESSAGE) from error


async def _file(pieces: AsyncIterator[bytes], name: str, content_type: str) -> Response:
    """A download. Its name in plain ASCII for old browsers, and as it is for the others."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    response = await server_context().spool.response(current_user(), pieces, content_type)
    response.headers["Content-Disposition"] = disposition
    return response
