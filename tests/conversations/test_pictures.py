"""Pictures of messages: kept once, gone with their last use, and carried by copies and files."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from app.conversations.answer_state import MessageRef
from app.conversations.chat_copies import ChatCopies
from app.conversations.chats import Trash
from app.conversations.exports import Exports
from app.conversations.history import to_turns
from app.conversations.imports.imports import ImportedPictures, Imports
from app.db import attachments as db_attachments
from app.db import chats as db_chats
from app.db import import_holders
from app.db.attachments import Attachment
from app.db.messages import Message
from app.errors import AttachmentNotFound, AttachmentRefused, DiskFull
from app.inference.protocol import Delta, Generate
from app.media.pictures import PictureDecoder
from app.models.model import Model, TurnImage
from tests.conversations.services import CHAT, ScriptedServices, finished
from tests.media.samples import drawn, encoded
from tests.patience import until

EXIF = Image.Exif()
EXIF[0x010F] = "a camera of mine"


async def add(services: ScriptedServices, name: str = "photo.jpg", size: int = 60) -> Attachment:
    data = encoded(drawn(size, 40), "JPEG", exif=EXIF)
    return await services.attachments.add(1, name, data)


def files(services: ScriptedServices) -> list[Path]:
    assert services.folder.name == "pictures"
    return sorted(path for path in services.folder.rglob("*") if path.is_file())


async def send(services: ScriptedServices, *sent: Attachment, client: str = "client01") -> int:
    """Send pictures, and return the answer's id."""
    ids = tuple(file.id for file in sent)
    prompt = replace(services.prompt("What is it?", client), attachments=ids)
    return (await services.answers.submit(prompt)).answer_id


async def test_a_picture_is_kept_once_by_its_digest_without_metadata(
    services: ScriptedServices,
) -> None:
    one, two = await add(services), await add(services, "again.jpg")
    assert one.digest == two.digest
    assert (one.kind, one.media_type, one.width, one.height) == ("image", "image/jpeg", 60, 40)
    picture, thumbnail = files(services)
    assert picture.name == f"{one.digest}.jpg"
    assert picture.parent.name == one.digest[:2]
    assert picture.stat().st_mode & 0o777 == 0o600
    assert b"camera" not in picture.read_bytes() + thumbnail.read_bytes()
    assert await services.attachments.picture(one) == picture.read_bytes()
    assert await services.attachments.picture(two, is_thumbnail=True) == thumbnail.read_bytes()


async def test_its_files_go_with_the_last_attachment_that_has_it(
    services: ScriptedServices,
) -> None:
    one, two = await add(services), await add(services)
    other = await add(services, "other.jpg", 80)
    await services.attachments.remove(1, one.id)
    await services.pictures.sweep()
    assert len(files(services)) == 4
    await services.attachments.remove(1, two.id)
    await services.pictures.sweep()
    assert {path.stem for path in files(services)} == {other.digest}
    with pytest.raises(AttachmentNotFound):
        await services.attachments.picture(one)


async def test_its_files_go_with_its_chat_and_with_its_user(services: ScriptedServices) -> None:
    await send(services, await add(services))
    await services.chats.delete(1, CHAT)
    await services.pictures.sweep()
    assert len(files(services)) == 2  # it may come back from the trash
    await Trash(services.db, services.pool, services.hub).remove(1, CHAT)
    await services.pictures.sweep()
    assert files(services) == []
    await add(services)
    await import_holders.erase(services.db, 1)
    await services.pictures.sweep()
    assert files(services) == []


async def test_what_a_crash_has_left_is_removed_at_the_start(services: ScriptedServices) -> None:
    kept = await add(services)
    orphan = await PictureDecoder().decode("a.png", encoded(drawn(90, 90)))
    services.pictures.files.put(orphan)
    half = services.folder / "ab" / f"{'ab' * 32}.png.0123abcd.tmp"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    await services.pictures.remove_orphans()
    assert {path.stem for path in files(services)} == {kept.digest}


async def test_edits_branches_and_copies_keep_pictures(services: ScriptedServices) -> None:
    answer = await send(services, await add(services))
    await until(lambda: bool(services.runner.sent))
    services.runner.say(Delta(answer, "a fox"), finished(answer))
    await until(lambda: services.hub.stream(answer) is None)
    copy = await ChatCopies(services.db, services.hub).branch_off(MessageRef(1, CHAT, answer))
    question = (await services.path())[0]
    await services.branches.edit(MessageRef(1, CHAT, question.id), "And now?", "client02")
    for path in (await services.path(), await services.path(copy)):
        (file,) = path[0].attachments
        assert file.id != question.attachments[0].id
        assert await services.attachments.picture(file)
    assert len(files(services)) == 2


async def test_exports_carry_pictures_and_imports_decode_them_again(
    services: ScriptedServices,
) -> None:
    file = await add(services)
    await services.attachments.describe(1, file.id, "a  red\ncorner")
    await services.attachments.set_picture_text(1, file.id, "EXIT\nHERE\n", gives=True)
    await send(services, file)
    chat = await services.chats.get(1, CHAT)
    assert chat is not None
    exports = Exports(services.db, services.pictures.files)
    markdown = b"".join([piece async for piece in exports.markdown(chat)]).decode()
    assert "[Picture photo.jpg: a red corner]\nText in the picture:\n> EXIT\n> HERE" in markdown
    whole = b"".join([piece async for piece in exports.json(chat)])
    (kept,) = json.loads(whole)["chats"][0]["messages"][0]["attachments"]
    assert (kept["kind"], kept["alt"], kept["text"]) == ("image", "a red corner", "EXIT\nHERE")
    await db_chats_removed(services)
    assert files(services) == []
    imports = Imports(
        services.db, services.hub, pictures=ImportedPictures(services.pictures, PictureDecoder())
    )
    assert (await imports.import_file(1, io.BytesIO(whole))).added == 1
    (back,) = (await services.path())[0].attachments
    assert (back.name, back.alt, back.width) == ("photo.jpg", "a red corner", 60)
    assert await services.attachments.text(1, back.id) == "EXIT\nHERE"
    assert Image.open(io.BytesIO(await services.attachments.picture(back))).size == (60, 40)


async def db_chats_removed(services: ScriptedServices) -> None:
    await services.chats.delete(1, CHAT)
    await Trash(services.db, services.pool, services.hub).remove(1, CHAT)
    await services.pictures.sweep()
    assert await db_chats.get(services.db, 1, CHAT) is None


async def test_a_file_with_hostile_pictures_is_imported_without_them(
    services: ScriptedServices,
) -> None:
    hostile = [b"<svg onload='alert(1)'/>", encoded()[:40], b"GIF89a"]
    pictures = [
        {"name": "../../x", "kind": "image", "data": base64.b64encode(data).decode()}
        for data in hostile
    ]
    pictures += [{"kind": "image", "data": data} for data in (7, None, "%%%")]  # type: ignore[dict-item]
    good = {"kind": "image", "name": "a.png", "data": base64.b64encode(encoded()).decode()}
    message = {"id": 1, "role": "user", "text": "look", "attachments": [*pictures, good]}
    chats = [{"id": CHAT, "title": "Pictures", "model": "tiny", "messages": [message]}]
    export = json.dumps({"format": "wick-chats", "version": 1, "chats": chats}).encode()
    imports = Imports(services.db, services.hub, pictures=ImportedPictures(services.pictures))
    report = await imports.import_file(1, io.BytesIO(export))
    assert report.added == 1
    assert [file.name for file in (await services.path())[0].attachments] == ["a.png"]
    named = [line for line in report.details if "damaged" in line]
    assert len(named) == len(hostile)
    assert named[0].startswith("Left out of the import: x (x is damaged, or not a picture")


async def test_a_description_may_change_and_the_text_only_until_it_is_sent(
    services: ScriptedServices,
) -> None:
    file = await add(services)
    with pytest.raises(AttachmentNotFound):
        await services.attachments.describe(2, file.id, "mine")
    with pytest.raises(AttachmentNotFound):
        await services.attachments.set_picture_text(2, file.id, "mine", gives=True)
    await services.attachments.set_picture_text(1, file.id, "EXIT", gives=False)
    await send(services, file)
    with pytest.raises(AttachmentNotFound):
        await services.attachments.set_picture_text(1, file.id, "other", gives=True)
    assert (await services.attachments.describe(1, file.id, "a sign")).alt == "a sign"
    (texts,) = (await db_attachments.texts(services.db, 1, [file.id])).values()
    assert texts == "EXIT"


async def test_a_full_disk_saves_neither_file_nor_row(
    services: ScriptedServices,
) -> None:
    with pytest.raises(AttachmentRefused):
        await services.attachments.add(1, "a.png", b"no picture")
    services.folder.write_text("in the way")
    with pytest.raises(DiskFull, match="no room left on the disk for this picture"):
        await add(services)
    assert await services.attachments.unsent(1, list(range(10))) == []


async def test_a_model_that_sees_nothing_is_given_the_text_that_the_user_left_in(
    services: ScriptedServices,
) -> None:
    one, two = await add(services, "exit.jpg"), await add(services, "door.jpg", 80)
    await services.attachments.set_picture_text(1, one.id, "EXIT\nHERE", gives=True)
    await services.attachments.set_picture_text(1, two.id, "private", gives=False)
    await services.attachments.describe(1, two.id, "a red door")
    await send(services, one, two)
    await until(lambda: bool(services.runner.sent))
    (sent, *_) = services.runner.sent
    assert isinstance(sent, Generate)
    assert sent.turns[-1].images == ()
    assert sent.turns[-1].content == (
        "[Picture exit.jpg]\nText in the picture:\n> EXIT\n> HERE\n\n"
        "[Picture door.jpg: a red door]\n\nWhat is it?"
    )


async def test_a_model_that_sees_is_shown_the_pictures(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "sees", True)
    one = await add(services)
    await services.attachments.set_picture_text(1, one.id, "EXIT", gives=True)
    await send(services, one)
    await until(lambda: bool(services.runner.sent))
    (sent, *_) = services.runner.sent
    assert isinstance(sent, Generate)
    (image,) = sent.turns[-1].images
    assert sent.turns[-1].content == "What is it?"
    assert (image.id, image.width, image.height, image.place) == (one.digest, 60, 40, 0)
    assert Path(image.path).read_bytes() == await services.attachments.picture(one)


async def test_regenerated_and_compared_answers_are_shown_the_pictures(
    services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "sees", True)
    one = await add(services)

    async def check(answer: int) -> None:
        await until(lambda: any(command.id == answer for command in services.runner.sent))
        sent = next(command for command in services.runner.sent if command.id == answer)
        assert isinstance(sent, Generate)
        assert [image.id for image in sent.turns[-1].images] == [one.digest]
        assert sent.turns[-1].content == "What is it?"
        services.runner.say(Delta(answer, "a fox"), finished(answer))
        await until(lambda: services.hub.stream(answer) is None)

    first = await send(services, one)
    await check(first)
    ref = MessageRef(1, CHAT, first)
    await services.branches.regenerate(ref, "again001")
    await check((await services.path())[-1].id)
    for compared in await services.branches.compare(ref, ["tiny", "tiny"], "compare01"):
        await check(compared.answer_id)


EMPTY = Message(
    id=1,
    chat_id=CHAT,
    parent_id=None,
    role="user",
    text="",
    status="done",
    client_id=None,
    model=None,
    error=None,
    created_at=1.0,
    finished_at=None,
)


def test_merged_turns_keep_the_places_of_their_pictures() -> None:
    def message(number: int, text: str, *files: Attachment) -> Message:
        return replace(EMPTY, id=number, text=text, attachments=files)

    pictures = [Attachment(n, f"{n}.png", "image", "image/png", 1, 1) for n in (1, 2)]
    notes = Attachment(3, "notes.txt", "text", "text/plain", 1, 1)
    images = {n: TurnImage(f"{n}", f"/{n}", 1, 1) for n in (1, 2)}
    path = [message(1, "first", pictures[0]), message(2, "second", pictures[1], notes)]
    (turn,) = to_turns(path, {3: "flour"}, images)
    assert turn.content == "first\n\nnotes.txt:\n```txt\nflour\n```\n\nsecond"
    assert [(image.id, image.place) for image in turn.images] == [("1", 0), ("2", 7)]
