"""`/v1/audio/speech`: text as sound, where the owner has set up a voice."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.api import http
from app.errors import ApiError
from app.media.piper import MAX_CHARS, MAX_SPEED, MIN_SPEED
from app.web.context import server_context
from app.web.security.identity import current_user

blueprint = Blueprint("api_speech", __name__)
Speed = Annotated[float, Meta(ge=MIN_SPEED, le=MAX_SPEED)]
SpokenText = Annotated[str, Meta(min_length=1, max_length=MAX_CHARS)]


class SpeechRequest(msgspec.Struct, kw_only=True):
    """model, voice: any; there is one voice, which the server's owner has chosen."""

    input: SpokenText
    model: str = ""
    voice: Any = None
    response_format: str = "wav"
    speed: Speed = 1.0
    stream_format: str = "audio"


@blueprint.post("/v1/audio/speech")
async def create() -> Response:
    asked = await http.parse_body(SpeechRequest)
    if asked.response_format != "wav":
        raise ApiError(
            "Only wav is supported as response_format: other formats need an encoder.",
            param="response_format",
        )
    if asked.stream_format != "audio":
        raise ApiError("Only audio is supported as stream_format.", param="stream_format")
    speaking = server_context().piper.speak(asked.input, current_user(), asked.speed)
    return Response(await http.while_allowed(speaking), content_type="audio/wav")
