"""Voice to text on the pages: setting it up, its models, and what somebody dictates."""

from __future__ import annotations

import asyncio
from typing import Final

from quart import Blueprint, Response, jsonify, request

from app.errors import MediaError, MediaNotSetUp, MediaRefused, MediaTooLarge
from app.media.audio import MAX_DICTATION_BYTES, MAX_DICTATION_SECONDS
from app.media.protocol import SAMPLE_BYTES
from app.media.transcription import SpeechOptions, transcript
from app.web.context import server_context
from app.web.security.auth import owner_required
from app.web.security.identity import current_user, is_owner

blueprint = Blueprint("media", __name__)
DONE: Final = 204


@blueprint.post("/media/<key>/setup")
@owner_required
async def set_up(key: str) -> Response:
    """Begin to set up an extra, or to get a voice model; how far that is comes over the sockets."""
    server_context().media.setup.start(key)
    return Response(status=DONE)


@blueprint.post("/media/<key>/cancel")
@owner_required
async def cancel(key: str) -> Response:
    """Stop it, or forget that it failed."""
    server_context().media.setup.cancel(key)
    return Response(status=DONE)


@blueprint.post("/media/<name>/choose")
@owner_required
async def choose(name: str) -> Response:
    """Let this voice model hear from now on."""
    context = server_context()
    await asyncio.to_thread(context.media.voice_models.choose, name)
    context.media.voice.unload_after_current()
    context.media.measure_voice()
    context.hub.models_changed()
    return Response(status=DONE)


@blueprint.delete("/media/<name>")
@owner_required
async def remove(name: str) -> Response:
    """Delete a voice model."""
    context = server_context()
    await asyncio.to_thread(context.media.voice_models.remove, name)
    context.media.voice.unload_after_current()
    context.hub.models_changed()
    return Response(status=DONE)


@blueprint.get("/dictation")
async def state() -> Response:
    """Tell whether speech can become text here, and what is missing: a sentence."""
    media = server_context().media
    about = ""
    try:
        await media.check_voice()
    except MediaNotSetUp:
        about = "Voice to text isn't set up yet."
        if not is_owner():
            about += " Ask an owner to set it up."
    task = media.setup.get("voice")
    return jsonify(
        {
            "ready": not about,
            "about": about,
            "running": task is not None and task.is_running,
            "line": "" if task is None else f"Setting up: {task.line}",
            "error": "" if task is None else task.error,
            "owner": is_owner(),
        }
    )


@blueprint.post("/dictation")
async def dictate() -> Response:
    """Write down samples: 16 bits, 16 kHz, one channel. Nothing of them is kept.

    Without any the voice model is loaded. With `partial`, which nobody needs, only while nothing
    else needs the processor; else 204.
    """
    if (request.content_length or 0) > MAX_DICTATION_BYTES:
        raise MediaTooLarge(
            f"That was too long: the limit is {MAX_DICTATION_SECONDS // 60} minutes."
        )
    media = server_context().media
    await media.check_voice()
    if "partial" in request.args and not media.is_quiet:
        return Response(status=DONE)
    samples: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
    if len(samples) % SAMPLE_BYTES:
        raise MediaRefused("This is no sound of 16 bits.")
    if not samples:
        await media.warm_up(current_user())
    return jsonify({"text": await _text(samples)})


@blueprint.post("/dictation/file")
async def write_down_file() -> Response:
    """Write down an audio file, such as one that was dropped into the composer."""
    name = request.args.get("name", "The file")[:200]
    most = server_context().settings.max_audio_mb
    too_large = MediaTooLarge(f"{name} is too large: the limit is {most} MB.")
    if (request.content_length or 0) > most << 20:
        raise too_large
    data: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
    if len(data) > most << 20:  # of whose length nothing was said before
        raise too_large
    text = await _text(await server_context().media.decode(name, data))
    if not text:
        raise MediaError(f"No speech was recognized in {name}.")
    return jsonify({"text": text})


async def _text(samples: bytes) -> str:
    options = SpeechOptions(language=request.args.get("language") or None)
    return await transcript(server_context().media, samples, options, current_user())
