"""Files for the message that is being written, and of those that were sent."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from quart import Blueprint, Response, request

from app.conversations.attachments import Attachments, PromptLimit, max_bytes
from app.db.attachments import MAX_UNSENT, Attachment
from app.errors import (
    AttachmentNotFound,
    AttachmentRefused,
    ChatNotFound,
    MediaError,
    ModelError,
)
from app.media.picture_files import ENDINGS, THUMBNAIL_TYPE
from app.media.pictures import MAX_PICTURE_BYTES
from app.media.sounds import samples_of
from app.media.transcription import SpeechOptions, transcript
from app.models.model import Model
from app.web.context import server_context
from app.web.security.identity import current_user

blueprint = Blueprint("attachments", __name__, url_prefix="/attachments")


async def take_file(*, temporary: bool = False) -> Attachment:
    """Save the file that is the body of this request. Raises AttachmentRefused.

    temporary: for a temporary chat, so that it is kept in memory alone.
    """
    context = server_context()
    where = context.temporary.services.attachments if temporary else context.attachments
    name = request.args.get("name", "file.txt")[:1000]
    limit = max_bytes(name)
    if (request.content_length or 0) > max(limit, MAX_PICTURE_BYTES):
        raise AttachmentRefused(f"{name} is too large: the limit is {limit >> 20} MB.")
    data: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
    user_id, key = current_user(), request.args.get("reading", "")
    with context.readings.follow(user_id, key) as notify:
        return await where.add(user_id, name, data, notify)


@blueprint.post("")
async def add() -> str:
    """Answer with the chip of the file."""
    return await render_chips([await take_file()])


@blueprint.post("/temporary")
async def add_temporary() -> str:
    """Answer with the chip of a file for a temporary chat."""
    return await render_chips([await take_file(temporary=True)])


@blueprint.get("/readings/<key>")
@blueprint.get("/temporary/readings/<key>")
async def reading(key: str) -> Response:
    """Say at which page the file is that is being sent with this key as `?reading=`."""
    line = server_context().readings.line(current_user(), key)
    return Response(line, content_type="text/plain; charset=utf-8")


@blueprint.get("")
@blueprint.get("/temporary")
async def chips() -> str:
    """The chips of a draft: those of `ids` that are there and not sent, counted for `model`."""
    context = server_context()
    ids = [int(one) for one in re.findall(r"\b[0-9]{1,15}\b", request.args.get("ids", ""))]
    user_id, some = current_user(), ids[:MAX_UNSENT]
    found = await context.attachments.unsent(user_id, some)
    found += await context.temporary.services.attachments.unsent(user_id, some)
    return await render_chips(found)


async def render_chips(files: Sequence[Attachment]) -> str:
    """Render files with their tokens for the model of `?model=`, in the chat of `?chat=`."""
    context = server_context()
    model, limit = await _chosen_model()
    files = await counted(files, model)
    name = request.args.get("model", "")
    return context.fragments.chips(files, counted_for=name, limit=limit)


async def counted(files: Sequence[Attachment], model: Model | None) -> list[Attachment]:
    """The files with their tokens for a model; they may be of chats on the disk and in memory."""
    context, user_id = server_context(), current_user()
    groups = dict[Attachments, list[Attachment]]()
    for file in files:
        groups.setdefault(context.attachments_of(file.id), []).append(file)
    by_group = [await where.counted(user_id, some, model) for where, some in groups.items()]
    return [file for group in by_group for file in group]


async def _chosen_model() -> tuple[Model | None, PromptLimit | None]:
    """Find the model that is to read files, and how much it reads at once."""
    context, chat_id = server_context(), request.args.get("chat", "")
    with contextlib.suppress(ModelError, ChatNotFound):
        name = request.args.get("model", "")
        default = context.answers.resolve_settings(name)
        chosen = await context.of(chat_id).chats.settings(current_user(), chat_id)
        model = await asyncio.to_thread(context.store.get, name)
        return model, PromptLimit.of(model, chosen.merged_with(default))
    return None, None


@blueprint.delete("/<int:attachment_id>")
@blueprint.delete("/temporary/<int:attachment_id>")
async def remove(attachment_id: int) -> Response:
    await server_context().attachments_of(attachment_id).remove(current_user(), attachment_id)
    return Response(status=204)


@blueprint.get("/<int:attachment_id>")
async def download(attachment_id: int) -> Response:
    return await file_response(current_user(), attachment_id, is_download=True)


@blueprint.get("/<int:attachment_id>/picture")
async def picture(attachment_id: int) -> Response:
    return await file_response(current_user(), attachment_id)


@blueprint.get("/<int:attachment_id>/thumbnail")
async def thumbnail(attachment_id: int) -> Response:
    return await thumbnail_response(current_user(), attachment_id)


@blueprint.post("/<int:attachment_id>/alt")
async def describe(attachment_id: int) -> str:
    """Set what a picture shows; its image on the page follows."""
    context = server_context()
    alt = (await request.form).get("alt", "")
    file = await context.attachments_of(attachment_id).describe(current_user(), attachment_id, alt)
    return context.fragments.render("_picture_image.html", file=file, oob=True)


@blueprint.get("/<int:attachment_id>/view")
async def view(attachment_id: int) -> str:
    """Render the content: text for the folded chip of a message, a picture for the dialog."""
    context, user_id = server_context(), current_user()
    attachments = context.attachments_of(attachment_id)
    file = await attachments.get(user_id, attachment_id)
    text = await attachments.text(user_id, attachment_id)
    if file.is_picture:
        return context.fragments.render("_viewer.html", file=file, text=text)
    return context.fragments.render("_attachment_text.html", file=file, text=text)


async def thumbnail_response(user_id: int, attachment_id: int) -> Response:
    attachments = server_context().attachments_of(attachment_id)
    file = await attachments.get(user_id, attachment_id)
    data = await attachments.picture(file, is_thumbnail=True)
    return Response(data, content_type=THUMBNAIL_TYPE)


@blueprint.get("/<int:attachment_id>/text")
@blueprint.get("/temporary/<int:attachment_id>/text")
async def picture_text(attachment_id: int) -> str | Response:
    """Read the text in a picture that is not sent, and render it to be looked at; of a sound,
    write down what is said."""
    context, sentence, text = server_context(), "", ""
    file = await context.attachments_of(attachment_id).get(current_user(), attachment_id)
    if file.is_sound:
        return Response(await recognized_text(file), content_type="text/plain; charset=utf-8")
    try:
        text = await recognized_text(file)
    except MediaError as error:
        sentence = str(error)
    return context.fragments.render(
        "_picture_text.html", file=file, text=text, sentence=sentence or "No text found in it."
    )


@blueprint.post("/<int:attachment_id>/text")
@blueprint.post("/temporary/<int:attachment_id>/text")
async def change_text(attachment_id: int) -> Response:
    """Set the text in a picture that is not sent, or leave it out."""
    form = await request.form
    await (
        server_context()
        .attachments_of(attachment_id)
        .set_picture_text(
            current_user(), attachment_id, form.get("text", ""), gives="gives" in form
        )
    )
    return Response(status=204)


async def recognized_text(file: Attachment) -> str:
    """The text in a picture or sound of the user, read now if it was not before. Raises
    AttachmentNotFound, MediaError."""
    context, user_id = server_context(), current_user()
    attachments = context.attachments_of(file.id)
    text = await attachments.text(user_id, file.id)
    if text or not file.is_media:
        return text
    data = await attachments.picture(file)
    if file.is_sound:
        options = SpeechOptions(language=request.args.get("language") or None)
        text = await transcript(context.media, samples_of(data), options, user_id)
        if not text:
            raise MediaError(f"No speech was recognized in {file.name}.")
    else:
        text = await context.media.recognize(data, user_id)
    with contextlib.suppress(AttachmentNotFound):  # sent or removed meanwhile
        await attachments.set_picture_text(user_id, file.id, text, gives=file.gives_text)
    return text


async def file_response(user_id: int, attachment_id: int, *, is_download: bool = False) -> Response:
    """A file as it is, which no browser takes for a page."""
    attachments = server_context().attachments_of(attachment_id)
    file = await attachments.get(user_id, attachment_id)
    if file.is_media:
        data = await attachments.picture(file)
        response = Response(data, content_type=file.media_type)
        if file.is_sound:  # players go to a place in it
            await response.make_conditional(request, accept_ranges=True, complete_length=len(data))
    else:
        text = await attachments.text(user_id, attachment_id)
        response = Response(text, content_type="text/plain; charset=utf-8")
    how = "attachment" if is_download else "inline"
    response.headers["Content-Disposition"] = (
        f"{how}; filename*=UTF-8''{quote(_saved_name(file), safe='')}"
    )
    return response


def _saved_name(file: Attachment) -> str:
    """Return a name whose ending is that of what Wick has made of a picture, sound or document."""
    if file.is_document:
        return f"{file.name}.md"
    if not file.is_media:
        return file.name
    return PurePosixPath(file.name).with_suffix(ENDINGS[file.media_type]).name
