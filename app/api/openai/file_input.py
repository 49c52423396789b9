"""Files in the messages of programs: named by the id of an upload, or with their bytes."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec

from app.conversations.attachments import as_block
from app.errors import ApiError, AttachmentNotFound, AttachmentRefused
from app.web.context import server_context
from app.web.security.identity import current_user

MAX_FILES: Final = 20
"""Files of one request."""
_DATA_URL: Final = re.compile(r"data:[^,]{0,200};base64,")
_FILE_ID: Final = re.compile(r"(?:file-)?([0-9]{1,15})")


class FileInput(msgspec.Struct):
    """File of a message: the id of an upload, or its bytes in base64 as a data URL."""

    file_id: str | int | None = None
    file_data: str | None = None
    filename: str | None = None


async def read_file_input(file: FileInput, param: str) -> str:
    """Write a file as a model reads it: its name, and its text in a fence. Raises ApiError."""
    try:
        if file.file_id is not None:
            return await _uploaded(str(file.file_id), param)
        if file.file_data is not None:
            return await _sent(file.file_data, file.filename or "document", param)
    except AttachmentRefused as error:
        raise ApiError(str(error), param=param) from None
    raise ApiError("A file needs a file_id or file_data.", param=param)


async def _uploaded(given: str, param: str) -> str:
    found = _FILE_ID.fullmatch(given)
    try:
        if found is None:
            raise AttachmentNotFound
        number, user_id = int(found[1]), current_user()
        files = server_context().attachments_of(number)
        file = await files.get(user_id, number)
        text = await files.text(user_id, number)
    except AttachmentNotFound:
        raise ApiError("There is no such file.", status=404, param=param) from None
    if file.is_picture:
        raise ApiError("This file is a picture: send it as image_url.", param=param)
    if file.is_sound:
        raise ApiError("This file is a recording: send it as input_audio.", param=param)
    return as_block(file.name, text)


async def _sent(data: str, name: str, param: str) -> str:
    head = _DATA_URL.match(data)
    try:
        content = base64.b64decode(data[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("file_data is not base64.", param=param) from None
    file = await server_context().attachments.read_text(current_user(), name, content)
    return as_block(file.name, file.text)
