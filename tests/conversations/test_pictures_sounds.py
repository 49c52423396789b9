"""Sounds of messages: given to models that hear, kept once, and carried by copies and files."""

from __future__ import annotations

import io
import json
import wave
from dataclasses import replace

import pytest

from app.conversations.chats import Trash
from app.conversations.exports import Exports
from app.conversations.imports.imports import ImportedPictures, Imports
from app.db.attachments import Attachment
from app.errors import AttachmentNotFound, AttachmentRefused
from app.inference.protocol import Generate
from app.models.model import Model
from tests.conversations.services import CHAT, ScriptedServices
from tests.media.samples import tone
from tests.patience import until


async def send(services: ScriptedServices, *sent: Attachment) -> Generate:
    """Send recordings, and return what the model is given."""
    ids = tuple(file.id for file in sent)
    await services.answers.submit(replace(services.prompt("What is it?"), attachments=ids))
    await until(lambda: bool(services.runner.sent))
    (given, *_) = services.runner.sent
    assert isinstance(given, Generate)
    return given


async def test_a_model_that_hears_is_given_the_sound(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "hears", True)
    file = await services.attachments.add(1, "tune.flac", tone(2, kind="FLAC"))
    assert (file.kind, file.media_type, file.seconds, file.tokens) == ("audio", "audio/wav", 2, 750)
    (kept,) = (path for path in services.folder.rglob("*") if path.is_file())
    assert kept.name == f"{file.digest}.wav"
    with wave.open(str(kept), "rb") as found:
        assert (found.getframerate(), found.getnchannels(), found.getnframes()) == (16000, 1, 32000)
    given = await send(services, file)
    (image,) = given.turns[-1].images
    assert (image.id, image.samples, image.path) == (file.digest, 32_000, str(kept))
    assert given.turns[-1].content == "What is it?"
    with pytest.raises(AttachmentNotFound):
        await services.attachments.picture(file, is_thumbnail=True)
    await services.chats.delete(1, CHAT)
    await Trash(services.db, services.pool, services.hub).remove(1, CHAT)
    await services.pictures.sweep()
    assert not kept.exists()


async def test_another_model_is_told_its_name_and_what_was_written_down(
    services: ScriptedServices,
) -> None:
    one = await services.attachments.add(1, "tune.wav", tone(1))
    two = await services.attachments.add(1, "talk.wav", tone(1, 300))
    await services.attachments.set_picture_text(1, two.id, "Good morning.", gives=True)
    given = await send(services, one, two)
    assert given.turns[-1].images == ()
    assert given.turns[-1].content == (
        "[Recording tune.wav]\n\n[Recording talk.wav]\nWhat is said in it:\n> Good morning.\n\n"
        "What is it?"
    )


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.wav", b"RIFF and no more", "a.wav is damaged, or not audio"),
        ("a.wav", tone(301, kind="FLAC"), "a.wav is too long for a model to hear: up to 5 minutes"),
        ("a.mp3", bytes((20 << 20) + 1), "a.mp3 is too large for a model to hear: up to 20 MB"),
    ],
)
async def test_what_no_model_can_hear_is_refused(
    services: ScriptedServices, name: str, data: bytes, why: str
) -> None:
    with pytest.raises(AttachmentRefused, match=why):
        await services.attachments.add(1, name, data)
    assert not services.folder.exists()


async def test_exports_carry_sounds_and_imports_decode_them_again(
    services: ScriptedServices,
) -> None:
    file = await services.attachments.add(1, "tune.wav", tone(1))
    await send(services, file)
    exports = Exports(services.db, services.pictures.files)
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    whole = json.loads(b"".join([piece async for piece in exports.json(chat)]))
    (kept,) = whole["chats"][0]["messages"][0]["attachments"]
    assert (kept["kind"], kept["media_type"]) == ("audio", "audio/wav")
    whole["chats"][0]["messages"][0]["attachments"].append(
        {"kind": "audio", "name": "bad.wav", "data": "UklGRg=="}
    )
    await services.chats.delete(1, CHAT)
    await Trash(services.db, services.pool, services.hub).remove(1, CHAT)
    await services.pictures.sweep()
    imports = Imports(services.db, services.hub, pictures=ImportedPictures(services.pictures))
    report = await imports.import_file(1, io.BytesIO(json.dumps(whole).encode()))
    assert report.added == 1
    assert any("bad.wav is damaged" in line for line in report.details)
    (back,) = (await services.path())[0].attachments
    assert (back.name, back.kind, back.digest) == ("tune.wav", "audio", file.digest)
    assert await services.attachments.picture(back)
