"""The server's voice for pages, where there is one: which it is, and sentences spoken by it."""

from __future__ import annotations

from quart import Blueprint, Response, jsonify, request

from app.media.piper import MAX_SPEED, MIN_SPEED
from app.web.context import server_context
from app.web.security.identity import current_user

blueprint = Blueprint("speech", __name__)


@blueprint.get("/speech")
async def voice() -> Response:
    found = server_context().piper.voice
    if found is None:
        return Response(status=204)
    return jsonify(name=found.name, language=found.language)


@blueprint.post("/speech")
async def speak() -> Response:
    """Speak the body, a sentence; `?speed=`: 1 is as the voice was made."""
    speed = request.args.get("speed", 1.0, type=float)
    speed = speed if MIN_SPEED <= speed <= MAX_SPEED else 1.0
    text = bytes(await request.body).decode("utf-8", "replace")
    sound = await server_context().piper.speak(text, current_user(), speed)
    return Response(sound, content_type="audio/wav")
