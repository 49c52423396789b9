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

from app.errors import (
    ApiError,
    AttachmentRefused,
    DiskFull,
    MediaRefused,
    MediaTooLarge,
    PullError,
)
from app.inference.protocol import Generate
from app.media.picture_files import HeldPictures
from app.media.pictures import MAX_PICTURE_BYTES, Picture
from app.media.sounds import count_samples
from app.models.model import TurnImage
from app.web.context import server_context

MAX_PICTURES: Final = 10
"""Pictures of one request."""
MAX_SOUND_BYTES: Final = 5 << 20
"""Of a sound's file, in a request of 8 MiB."""
FETCH_SECONDS: Final = 20.0
_ADDRESS: Final = re.compile("https?://", re.IGNORECASE)
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SentPicture:
    """Picture of a message. turn: the number of that; place: characters before it; param: the
    field of the request, for errors; url: where it is, for one that is still to be fetched;
    is_sound: it is sound, which takes the place of a picture."""

    data: bytes
    turn: int
    place: int
    param: str
    url: str = ""
    is_sound: bool = False


def from_url(url: str, turn: int, place: int, param: str) -> SentPicture:
    """Raises ApiError for what is neither a data URL nor an address that may be fetched."""
    if server_context().settings.fetch_pictures and _ADDRESS.match(url[:10]):
        return SentPicture(b"", turn, place, param, url)
    return SentPicture(from_data_url(url, param), turn, place, param)


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


def from_audio(text: str, turn: int, place: int, param: str) -> SentPicture:
    """Raises ApiError for what is no base64, or too much."""
    if len(text) > 4 * MAX_SOUND_BYTES // 3 + 4:
        limit = MAX_SOUND_BYTES >> 20
        raise ApiError(f"The sound is too large: the limit is {limit} MB.", param=param)
    try:
        data = base64.b64decode(text.removeprefix("data:audio/wav;base64,"), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("The sound is not valid base64.", param=param) from None
    return SentPicture(data, turn, place, param, is_sound=True)


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
    for sent in pictures:
        if not (found.hears if sent.is_sound else found.sees):
            what = "hear sound" if sent.is_sound else "see pictures"
            raise ApiError(
                f"{found.title} can't {what}. Choose a model that can, or send text alone.",
                param=sent.param,
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


async def _fetched(sent: SentPicture) -> bytes:
    """Fetch a picture from the internet, and from nowhere else. Raises ApiError."""
    import httpx  # here and not above: few fetch any, and it takes a while to load

    from app.models.install import http_client

    def check(response: httpx.Response) -> None:
        http_client.raise_for_status(response.status_code, str(response.url))

    try:
        web = await asyncio.to_thread(http_client.client, is_public=True)
        async with web, asyncio.timeout(FETCH_SECONDS):
            return await http_client.get_body(web, sent.url, {}, "", MAX_PICTURE_BYTES, check)
    except TimeoutError:
        why = f"it did not come within {FETCH_SECONDS:.0f} seconds."
    except (PullError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        why = str(error)
    raise ApiError(f"The picture can't be fetched: {why}", param=sent.param)


async def _decoded(sent: SentPicture) -> Picture:
    data = await _fetched(sent) if sent.url else sent.data
    if sent.is_sound:
        return await _heard(sent)
    try:
        return await server_context().decoder.decode("The picture", data)
    except AttachmentRefused as error:
        raise ApiError(str(error), param=sent.param) from error


async def _heard(sent: SentPicture) -> Picture:
    """Decode a sound, which takes the place of a picture. Raises ApiError."""
    try:
        return await server_context().media.sounds.decode("The sound", sent.data)
    except (MediaRefused, MediaTooLarge) as error:
        raise ApiError(str(error), param=sent.param) from error


def _image(held: HeldPictures, picture: Picture, sent: SentPicture) -> TurnImage:
    held.put(picture)
    try:
        path = held.path(picture.digest, picture.media_type)
    except DiskFull:
        held.release([picture.digest])
        raise
    assert path is not None  # noqa: S101 - it was just put there
    if sent.is_sound:
        samples = count_samples(len(picture.data))
        return TurnImage(picture.digest, str(path), 0, 0, sent.place, samples=samples)
    return TurnImage(picture.digest, str(path), picture.width, picture.height, sent.place)
