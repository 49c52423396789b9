"""Files over HTTP: chips for the composer, their content, and nothing of another's."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiosqlite
import pytest
from quart import Quart

from app.conversations.attachments import MAX_FILE_BYTES
from app.conversations.settings import ChatSettings
from app.db import attachments, chats, messages
from app.media.extras import EXTRAS
from app.models.store import ModelStore
from app.models.text.token_count import estimate_tokens
from app.models.text.tokenizer import Tokenizer
from tests.application import BrowserClient, context_of, run_app, sign_in, text_of
from tests.media.samples import drawn, encoded, tone, written
from tests.tiny_gguf import write_tiny_gguf

CHAT = "0123456789abcdef"
HOSTILE = "<img src=x onerror=alert(1)>\"'&.md"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


async def attach(browser: BrowserClient, name: str = "notes.md", data: bytes = b"flour") -> str:
    """Upload a file, and return the id that its chip has."""
    answer = await browser.ask(
        "POST", "/attachments", query_string={"name": name}, data=data, headers=PLAIN
    )
    html = await text_of(answer)
    assert answer.status_code == 200, html
    found = re.search(r'data-attachment="(\d+)" data-kind="text" data-status="ready"', html)
    assert found, html
    return found[1]


PLAIN = {"Content-Type": "text/plain", "Accept": "text/plain"}


async def test_a_file_becomes_a_chip_that_can_be_read_and_removed(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    file = await attach(anna, HOSTILE)
    chip = await text_of(await anna.ask("GET", f"/attachments?ids={file}+999+x"))
    assert "<img" not in chip
    assert 'data-tokens="1"' in chip
    assert "1 token<" in chip
    answer = await anna.ask("GET", f"/attachments/{file}")
    assert await text_of(answer) == "flour"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''%3Cimg")
    assert "flour</pre>" in await text_of(await anna.ask("GET", f"/attachments/{file}/view"))
    assert (await anna.ask("DELETE", f"/attachments/{file}")).status_code == 204
    assert (await anna.ask("GET", f"/attachments/{file}")).status_code == 404
    assert await text_of(await anna.ask("GET", f"/attachments?ids={file}")) == ""


@pytest.mark.parametrize(
    ("name", "data", "status", "why"),
    [
        ("a.pdf", b"%PDF-1.7", 415, "a.pdf is damaged, or not what its name says."),
        ("a.png", b"\x89PNG\r\n", 415, "a.png is damaged, or not a picture"),
        ("a.bin", bytes(range(256)), 415, "a.bin is not a text file, so the model can't read it."),
        ("big.txt", b"x" * (MAX_FILE_BYTES + 1), 415, "big.txt is too large: the limit is 1 MB."),
    ],
)
async def test_a_refusal_is_a_plain_sentence(
    app: Quart, name: str, data: bytes, status: int, why: str
) -> None:
    anna = await sign_in(app, "Anna", "owner")
    answer = await anna.ask(
        "POST", "/attachments", query_string={"name": name}, data=data, headers=PLAIN
    )
    assert answer.status_code == status
    text = await text_of(answer)
    assert why in text
    assert "<" not in text


async def test_tokens_are_counted_by_the_chosen_model_and_compared_with_its_window(
    app: Quart, tmp_path: Path
) -> None:
    store = ModelStore(tmp_path / "models")
    for name, context in (("small", 128), ("large", 512)):
        path = write_tiny_gguf(tmp_path / f"{name}.gguf", context_length=context)
        model = store.install(path, name)
    text = "each call, " * 60
    exact = len(Tokenizer.load(model.folder).encode(text))
    assert 128 < exact < 384
    assert exact != estimate_tokens(text)
    anna = await sign_in(app, "Anna", "owner")
    file = await attach(anna, data=text.encode())
    seen = {
        name: await text_of(
            await anna.ask("GET", f"/attachments?ids={file}&model={name}&chat={CHAT}")
        )
        for name in ("", "small", "large", "gone")
    }
    for name in ("", "gone"):
        assert "about </span>" in seen[name]
        assert "data-limit" not in seen[name]
    for name in ("small", "large"):
        assert f'data-tokens="{exact}" data-for="{name}"' in seen[name]
        assert "about </span>" not in seen[name]
    assert f"{exact} tokens, searched" in seen["small"]
    assert re.search("Too long for [^,]+, which reads up to 96 tokens at once.", seen["small"])
    assert "data-too-large" not in seen["large"]
    # Fewer in this chat, by its own settings.
    await context_of(app).chats.choose_settings(1, CHAT, ChatSettings(context_length=128))
    html = await text_of(await anna.ask("GET", f"/attachments?ids={file}&model=large&chat={CHAT}"))
    assert "data-too-large" in html
    address = "/api/v1/files?name=b.txt&model=small"
    made = json.loads(await text_of(await anna.ask("POST", address, data=text.encode())))
    assert (made["tokens"], made["counted_by"]) == (exact, "small")


async def test_an_edited_message_keeps_the_files_that_are_still_chosen(
    app: Quart, tmp_path: Path
) -> None:
    ModelStore(tmp_path / "models").install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    anna = await sign_in(app, "Anna", "owner")
    files = [await attach(anna), await attach(anna, "more.md")]

    async def fill(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT, 1, "Bread", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "what?", "c1", 1.0)
        assert await attachments.attach(connection, 1, [int(one) for one in files], asked)
        await chats.advance(connection, 1, CHAT, asked, "tiny", 2.0)

    await context_of(app).chats._db.write(fill)
    form = await text_of(await anna.ask("GET", f"/chats/{CHAT}/messages/1/edit"))
    assert form.count('name="keep"') == 2
    assert "more.md" in form
    values = {"text": "and?", "client_id": "client02", "model": "tiny", "files": "chosen"}
    here = f"/chats/{CHAT}/messages/1/edit"
    for number, (changed, names) in enumerate(
        [({"keep": files[1]}, ["more.md"]), ({}, []), ({"files": ""}, ["notes.md", "more.md"])]
    ):
        given = values | changed | {"client_id": f"client0{number}"}
        sent = {name: value for name, value in given.items() if value}
        assert (await anna.ask("POST", here, form=sent)).status_code == 204
        chat = await context_of(app).chats.get(1, CHAT)
        edited = (await context_of(app).chats.messages(chat))[0]
        assert [file.name for file in edited.attachments] == names


async def test_a_stranger_reaches_no_file(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    file = await attach(anna)
    for method, path in (
        ("GET", f"/attachments/{file}"),
        ("GET", f"/attachments/{file}/view"),
        ("DELETE", f"/attachments/{file}"),
        ("GET", f"/api/v1/files/{file}"),
        ("GET", f"/api/v1/files/{file}/content"),
        ("DELETE", f"/api/v1/files/{file}"),
    ):
        assert (await ben.ask(method, path)).status_code == 404, path
    assert await text_of(await ben.ask("GET", f"/attachments?ids={file}")) == ""
    assert (await BrowserClient(app).ask("GET", f"/attachments/{file}")).status_code in {303, 401}
    assert await text_of(await anna.ask("GET", f"/attachments/{file}")) == "flour"


async def test_programs_upload_read_and_delete_files(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    answer = await anna.ask("POST", "/api/v1/files?name=a.py", data=b"x = 1\n")
    assert answer.status_code == 201
    made = json.loads(await text_of(answer))
    assert (made["name"], made["kind"], made["size"], made["object"]) == ("a.py", "text", 6, "file")
    path = f"/api/v1/files/{made['id']}"
    assert json.loads(await text_of(await anna.ask("GET", path))) == made
    assert await text_of(await anna.ask("GET", f"{path}/content")) == "x = 1\n"
    refused = await anna.ask("POST", "/api/v1/files?name=a.pdf", data=b"%PDF-1.4")
    assert refused.status_code == 415
    assert "a.pdf is damaged" in json.loads(await text_of(refused))["error"]["message"]
    assert (await anna.ask("DELETE", path)).status_code == 204
    assert (await anna.ask("GET", path)).status_code == 404


async def test_a_shared_chat_shows_its_own_files_and_no_others(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    sent, other = await attach(anna), await attach(anna, "secret.txt", b"secret")

    async def fill(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT, 1, "Bread", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "what?", "c1", 1.0)
        assert await attachments.attach(connection, 1, [int(sent)], asked)
        await chats.advance(connection, 1, CHAT, asked, "tiny", 2.0)

    await context_of(app).chats._db.write(fill)
    shown = await text_of(await anna.ask("GET", f"/chats/{CHAT}"))
    assert "notes.md" in shown
    assert "flour" not in shown  # it comes when it is opened
    link = f"/shared/{await context_of(app).shares.share(1, CHAT)}"
    visitor = BrowserClient(app)
    page = await text_of(await visitor.ask("GET", link))
    assert f'href="{link}/files/{sent}"' in page
    assert await text_of(await visitor.ask("GET", f"{link}/files/{sent}")) == "flour"
    assert (await visitor.ask("GET", f"{link}/files/{other}")).status_code == 404


async def test_a_picture_is_shown_described_and_given_as_its_owner_and_link_see_it(
    app: Quart,
) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    answer = await anna.ask(
        *("POST", "/attachments"),
        query_string={"name": HOSTILE},
        data=encoded(kind="JPEG", comment=b"secret"),
        headers=PLAIN,
    )
    chip = await text_of(answer)
    found = re.search(r'data-attachment="(\d+)" data-kind="image" data-status="ready"', chip)
    assert found, chip
    assert 'src="x"' not in chip
    assert "60 × 40" in chip
    file = found[1]
    for path, kind in (("picture", "image/jpeg"), ("thumbnail", "image/webp"), ("", "image/jpeg")):
        answer = await anna.ask("GET", f"/attachments/{file}/{path}".rstrip("/"))
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert b"secret" not in await answer.get_data(as_text=False)
        assert (await ben.ask("GET", f"/attachments/{file}/{path}".rstrip("/"))).status_code == 404
    form = {"alt": 'a "red" corner'}
    path = f"/attachments/{file}/alt"
    assert (await ben.ask("POST", path, form=form)).status_code == 404
    assert "a &#34;red&#34; corner" in await text_of(await anna.ask("POST", path, form=form))
    dialog = await text_of(await anna.ask("GET", f"/attachments/{file}/view"))
    assert 'value="a &#34;red&#34; corner"' in dialog

    async def fill(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT, 1, "Bread", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "what?", "c1", 1.0)
        assert await attachments.attach(connection, 1, [int(file)], asked)
        await chats.advance(connection, 1, CHAT, asked, "tiny", 2.0)

    await context_of(app).chats._db.write(fill)
    shown = await text_of(await anna.ask("GET", f"/chats/{CHAT}"))
    assert f'src="/attachments/{file}/thumbnail" alt="a &#34;red&#34; corner"' in shown
    link = f"/shared/{await context_of(app).shares.share(1, CHAT)}"
    visitor = BrowserClient(app)
    page = await text_of(await visitor.ask("GET", link))
    assert f'href="{link}/files/{file}"' in page
    assert f'src="{link}/files/{file}/thumbnail"' in page
    for path in ("", "/thumbnail"):
        assert (await visitor.ask("GET", f"{link}/files/{file}{path}")).status_code == 200
        assert (await visitor.ask("GET", f"{link}/files/999{path}")).status_code == 404


async def test_programs_upload_describe_and_read_pictures(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    for where in ("false", "true"):
        answer = await anna.ask(
            "POST", f"/api/v1/files?name=a.png&temporary={where}", data=encoded()
        )
        made = json.loads(await text_of(answer))
        assert (made["kind"], made["width"], made["height"]) == ("image", 60, 40)
        path = f"/api/v1/files/{made['id']}"
        change = {"alt": "a corner", "text": "EXIT", "gives_text": False}
        changed = json.loads(await text_of(await anna.ask("PATCH", path, json=change)))
        assert (changed["alt"], changed["gives_text"]) == ("a corner", False)
        content = await anna.ask("GET", f"{path}/content")
        assert content.headers["Content-Type"] == "image/png"
        thumbnail = await anna.ask("GET", f"{path}/thumbnail")
        assert thumbnail.headers["Content-Type"] == "image/webp"
        assert (await anna.ask("DELETE", path)).status_code == 204
    text = await anna.ask("POST", "/api/v1/files?name=a.py", data=b"x = 1\n")
    path = f"/api/v1/files/{json.loads(await text_of(text))['id']}"
    assert (await anna.ask("GET", f"{path}/thumbnail")).status_code == 404
    assert (await anna.ask("PATCH", path, json={"alt": "x"})).status_code == 404


async def test_a_recording_is_played_in_parts_as_its_owner_and_link_hear_it(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    file = await upload(anna, tone(1), "tune.wav")
    chip = await text_of(await anna.ask("GET", f"/attachments?ids={file}"))
    assert f'<audio controls preload="none" src="/attachments/{file}"' in chip
    assert "0:01" in chip
    assert "Turn into text" in chip
    path = f"/attachments/{file}"
    whole = await anna.ask("GET", path)
    assert whole.headers["Content-Type"] == "audio/wav"
    data = await whole.get_data(as_text=False)
    assert (len(data), data[:4]) == (32_044, b"RIFF")
    part = await anna.ask("GET", path, headers={"Range": "bytes=44-99"})
    assert (part.status_code, await part.get_data(as_text=False)) == (206, data[44:100])
    assert part.headers["Content-Range"] == "bytes 44-99/32044"
    assert (await ben.ask("GET", path)).status_code == 404
    answer = await anna.ask("GET", f"{path}/text", headers=PLAIN)
    assert answer.status_code == 501
    assert "Voice to text needs a voice model" in await text_of(answer)

    async def fill(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT, 1, "Tunes", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "what?", "c1", 1.0)
        assert await attachments.attach(connection, 1, [file], asked)
        await chats.advance(connection, 1, CHAT, asked, "tiny", 2.0)

    await context_of(app).chats._db.write(fill)
    shown = await text_of(await anna.ask("GET", f"/chats/{CHAT}"))
    assert f'src="/attachments/{file}" aria-label="Recording tune.wav"' in shown
    link = f"/shared/{await context_of(app).shares.share(1, CHAT)}"
    visitor = BrowserClient(app)
    assert f'src="{link}/files/{file}"' in await text_of(await visitor.ask("GET", link))
    heard = await visitor.ask("GET", f"{link}/files/{file}")
    assert await heard.get_data(as_text=False) == data


async def upload(browser: BrowserClient, data: bytes, name: str = "sign.png") -> int:
    answer = await browser.ask("POST", f"/api/v1/files?name={name}", data=data)
    assert answer.status_code == 201
    return int(json.loads(await text_of(answer))["id"])


async def test_the_text_in_a_picture_is_read_changed_and_left_out(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    file = await upload(anna, encoded(written("Closed on Sundays")))
    path = f"/attachments/{file}/text"
    html = await text_of(await anna.ask("GET", path))
    assert 'aria-label="Text in the picture"' in html
    assert "Closed on Sundays</textarea>" in html
    change = {"text": "Open <b>daily</b>"}
    for browser, status in ((ben, 404), (anna, 204)):
        assert (await browser.ask("POST", path, form=change)).status_code == status
    html = await text_of(await anna.ask("GET", path))
    assert "Open &lt;b&gt;daily&lt;/b&gt;</textarea>" in html
    assert "checked" not in html
    assert (await ben.ask("GET", path)).status_code == 404
    blank = await upload(anna, encoded())
    html = await text_of(await anna.ask("GET", f"/attachments/{blank}/text"))
    assert "No text found in it." in html
    assert "<textarea" not in html


async def test_programs_have_the_text_in_a_picture_read(app: Quart) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    file = await upload(anna, encoded(written("Closed on Sundays")))
    path = f"/api/v1/files/{file}/text"
    assert (await ben.ask("POST", path)).status_code == 404
    answer = await anna.ask("POST", path)
    assert json.loads(await text_of(answer)) == {"text": "Closed on Sundays"}


async def test_pictures_count_towards_what_a_model_reads(app: Quart, tmp_path: Path) -> None:
    small = write_tiny_gguf(tmp_path / "small.gguf", context_length=128)
    ModelStore(tmp_path / "models").install(small, "small")
    anna = await sign_in(app, "Anna", "owner")

    async def fill(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT, 1, "Signs", "small", 1.0)

    await context_of(app).chats._db.write(fill)
    file = await upload(anna, encoded(drawn(2000, 1000)))
    html = await text_of(await anna.ask("GET", f"/attachments?ids={file}&model=small&chat={CHAT}"))
    tokens = re.findall('data-tokens="([0-9]+)"', html)
    assert len(tokens) == 1
    assert int(tokens[0]) < 50  # of its name: this model sees none
    assert ", too large" not in html
    change = {"text": "word " * 2000}
    assert (await anna.ask("PATCH", f"/api/v1/files/{file}", json=change)).status_code == 200
    html = await text_of(await anna.ask("GET", f"/attachments?ids={file}&model=small&chat={CHAT}"))
    assert ", too large</span>" in html


async def test_what_is_not_set_up_says_so(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = await sign_in(app, "Anna", "owner"), await sign_in(app, "Ben")
    assert "it gets the text in them." in await text_of(await anna.ask("GET", "/"))
    missing = replace(EXTRAS["ocr"], modules=("no_such_module",))
    monkeypatch.setitem(EXTRAS, "ocr", missing)
    page = await text_of(await anna.ask("GET", "/"))
    assert "reading the text in them isn't set up here. <a" in page
    assert "Ask an owner to set it up" in await text_of(await ben.ask("GET", "/"))
    file = await upload(anna, encoded(written("Closed")))
    html = await text_of(await anna.ask("GET", f"/attachments/{file}/text"))
    assert "Text in pictures is not set up here." in html
    assert (await anna.ask("POST", f"/api/v1/files/{file}/text")).status_code == 501
