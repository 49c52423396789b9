"""Pictures in requests of programs: decoded, and held in memory as long as their request lives."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.errors import ApiError, AttachmentRefused
from app.inference.protocol import Generate
from app.media.picture_files import HeldPictures
from app.media.pictures import MAX_PICTURE_BYTES, Picture
from app.models.model import TurnImage
from app.web.context import server_context

MAX_PICTURES: Final = 10
"""Pictures of one request."""
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SentPicture:
    """Picture of a message. turn: the number of that; place: characters before it; param: the
    field of the request, for errors."""

    data: bytes
    turn: int
    place: int
    param: str


def from_data_url(url: str, param: str) -> bytes:
    """Raises ApiError for what is no data URL with a picture in base64."""
    begin = _DATA_URL.match(url[:100])
    if begin is None:
        raise ApiError(
            "Send the picture itself as a data URL (data:image/png;base64,…): Wick fetches none.",
            param=param,
            code="unsupported_content",
        )
    return from_base64(url[begin.end() :], param)


def from_base64(text: str, param: str) -> bytes:
    """Raises ApiError."""
    if len(text) > 4 * MAX_PICTURE_BYTES // 3 + 4:
        limit = MAX_PICTURE_BYTES >> 20
        raise ApiError(f"The picture is too large: the limit is {limit} MB.", param=param)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("The picture is not valid base64.", param=param) from None


async def show(model: str, command: Generate, pictures: Sequence[SentPicture]) -> Generate:
    """Give the turns of a command their pictures, for a model that sees. Raises ApiError."""
    if not pictures:
        return command
    if len(pictures) > MAX_PICTURES:
        raise ApiError(f"A request may have at most {MAX_PICTURES} pictures.", param="messages")
    context = server_context()
    found = await asyncio.to_thread(context.store.get, model)
    if not found.sees:
        raise ApiError(
            f"{found.title} can't see pictures. Choose a model that can, or send text alone.",
            param=pictures[0].param,
            code="unsupported_content",
        )
    turns, held = list(command.turns), context.held_pictures
    kept = list[str]()
    try:
        for sent in pictures:
            picture = await _decoded(sent)
            image = _image(held, picture, sent)
            kept.append(picture.digest)
            turn = turns[sent.turn]
            turns[sent.turn] = replace(turn, images=(*turn.images, image))
    except BaseException:
        held.release(kept)
        raise
    return replace(command, turns=tuple(turns))


def hold(owner: object, command: Generate) -> None:
    """Forget the pictures of a command when its request, the owner, is gone."""
    if digests := [image.id for turn in command.turns for image in turn.images]:
        weakref.finalize(owner, server_context().held_pictures.release, digests)


async def _decoded(sent: SentPicture) -> Picture:
    try:
        return await server_context().decoder.decode("The picture", sent.data)
    except AttachmentRefused as error:
        raise ApiError(str(error), param=sent.param) from error


def _image(held: HeldPictures, picture: Picture, sent: SentPicture) -> TurnImage:
    held.put(picture)
    path = held.path(picture.digest, picture.media_type)
    if path is None:
        held.release([picture.digest])
        raise ApiError(
            "This system can't hold pictures of programs in memory.", status=501, param=sent.param
        )
    return TurnImage(picture.digest, str(path), picture.width, picture.height, sent.place)
