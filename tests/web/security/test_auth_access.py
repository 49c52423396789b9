"""Who may use which route and socket: the owner, a member, a stranger with an account, nobody.

The rows are compared with the routes of the application, so a route without a row fails. Chats are
the member's: to the owner they are as foreign as to anybody else. What one may do is shown by the
status that the application itself answers with; what is refused must change nothing and show none
of the member's words.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from quart import Quart
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError

from app.config import Settings
from app.db import chats, messages
from app.inference.process import RunnerProcess
from app.models.store import ModelStore
from app.server import create_app
from app.web.addresses import is_api_path
from tests.application import OWN, PASSWORD, BrowserClient, context_of, quick_passwords, sign_in
from tests.inference.scripted import ScriptedRunner
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

WORDS = "walnut-and-thyme"
Row = tuple[str, str]
REACHED = 0  # whatever the application says to it
OWNER, MEMBER, STRANGER, NOBODY = "owner", "member", "stranger", "nobody"

CHAT = "/chats/<chat_id>"
MESSAGE = f"{CHAT}/messages/<int:message_id>"
MODEL = "/models/<name>"
PERSON = "/people/<int:user_id>"
DECISIONS = f"{PERSON}/<any('disable', 'enable', 'make-owner', 'make-member'):verb>"

# The member's own; to everybody else they do not exist. What the member gets.
CHATS: dict[Row, int] = {
    ("GET", CHAT): 200,
    ("GET", f"{CHAT}/export.json"): 200,
    ("GET", f"{CHAT}/export.md"): 200,
    ("GET", f"{CHAT}/menu"): 200,
    ("GET", f"{CHAT}/name"): 200,
    ("GET", f"{CHAT}/row"): 200,
    ("GET", f"{CHAT}/settings"): 200,
    ("GET", f"{CHAT}/share"): 200,
    ("POST", f"{CHAT}/share"): 200,
    ("DELETE", f"{CHAT}/share"): 200,
    ("POST", f"{CHAT}/settings"): 200,
    ("GET", f"{CHAT}/tools"): 200,
    ("POST", f"{CHAT}/tools"): 200,
    ("POST", f"{CHAT}/name"): 200,
    ("POST", f"{CHAT}/title"): 204,
    ("POST", f"{CHAT}/model"): 204,
    ("POST", f"{CHAT}/pin"): 204,
    ("POST", f"{CHAT}/unpin"): 204,
    ("POST", f"{CHAT}/stop"): 204,
    ("POST", f"{CHAT}/keep"): 400,  # it is kept anyway
    ("POST", f"{CHAT}/archive"): 200,
    ("POST", f"{CHAT}/unarchive"): 200,
    ("POST", f"{CHAT}/restore"): 200,
    ("POST", f"{CHAT}/messages/<int:answer_id>/take-back"): 404,  # nothing waits there
    ("GET", f"{MESSAGE}/text"): 200,
    ("GET", f"{MESSAGE}/edit"): 200,
    ("GET", f"{MESSAGE}/models"): 200,
    ("GET", f"{MESSAGE}/ways"): 200,
    ("GET", f"{CHAT}/compare"): 200,
    ("POST", f"{CHAT}/compare"): 400,  # no models
    ("GET", f"{MESSAGE}/compare"): 200,
    ("POST", f"{MESSAGE}/compare"): 204,
    ("POST", f"{MESSAGE}/use"): 204,
    ("GET", f"{CHAT}/compare/<int:prompt_id>"): 200,
    ("GET", f"{MESSAGE}/settings"): 200,
    ("POST", f"{MESSAGE}/settings"): 200,
    ("POST", f"{MESSAGE}/again"): 204,
    ("POST", f"{MESSAGE}/edit"): 204,
    ("POST", f"{MESSAGE}/go-on"): 204,
    ("POST", f"{MESSAGE}/show"): 204,
    ("POST", f"{MESSAGE}/branch"): 204,
    ("POST", f"{MESSAGE}/put-back"): 404,  # nothing was removed
    ("POST", f"{MESSAGE}/calls/<int:number>"): 404,  # nothing asks
    ("DELETE", MESSAGE): 200,
    ("DELETE", CHAT): 200,
    ("DELETE", "/trash/<chat_id>"): 404,  # it is not in the trash
}

# What everybody has who is logged in, each their own.
PEOPLE: dict[Row, int] = {
    ("GET", "/"): 200,
    ("GET", "/archive"): 200,
    ("GET", "/chats/more"): 404,  # no such part of the list
    ("GET", "/exchange"): 200,
    ("GET", "/exchange/chats.json"): 200,
    ("GET", "/exchange/chats.zip"): 200,
    ("POST", "/exchange/chats.json"): 422,  # no passphrase
    ("POST", "/exchange/chats.zip"): 422,
    ("POST", "/exchange/import"): 400,  # no file
    ("GET", "/search"): 200,
    ("GET", "/tool-library/<int:server_id>/prompt"): 404,
    ("POST", "/tool-library/<int:server_id>/prompt"): 404,
    ("POST", "/tool-library/<int:server_id>/resource"): 404,
    ("GET", "/trash"): 200,
    ("DELETE", "/trash"): 200,
    ("GET", "/models"): 200,
    ("GET", "/models/choices"): 200,
    ("GET", "/models/report"): 200,
    ("GET", "/you"): 200,
    ("POST", "/you/logins/<int:session_id>/end"): 404,  # of another person
    ("POST", "/you/password-links/withdraw"): 303,
    ("POST", "/you/password"): 303,
    ("POST", "/you/name"): 422,  # no name
    ("POST", "/you/identities/link"): 403,  # no proxy names anybody
    ("POST", "/login/with/<name>/link"): 403,  # nothing was begun
    ("POST", "/you/identities/unlink"): 303,
    ("GET", "/you/codes"): 200,
    ("POST", "/you/codes/set-up"): 403,  # no password
    ("POST", "/you/codes/confirm"): 403,
    ("POST", "/you/codes/recovery"): 403,
    ("POST", "/you/codes/off"): 403,
    ("GET", "/you/passkeys"): 200,
    ("POST", "/you/passkeys"): 422,  # no name
    ("POST", "/you/passkeys/options"): 403,  # no password
    ("POST", "/you/passkeys/<int:passkey_id>/remove"): 303,
    ("POST", "/you/remove"): 303,
    ("POST", "/logout"): 303,
    ("POST", "/logout/everywhere"): 303,
}

# The owner's; members are refused.
OWNERS: dict[Row, int] = {
    ("GET", "/slots"): 200,
    ("GET", "/metrics"): 200,
    ("GET", "/status"): 200,
    ("GET", "/status/figures"): 200,
    ("POST", "/status/devices"): 200,
    ("GET", f"{MODEL}/settings"): 200,
    ("POST", f"{MODEL}/settings"): 200,
    ("POST", f"{MODEL}/load"): 204,
    ("POST", f"{MODEL}/unload"): 204,
    ("POST", f"{MODEL}/default"): 204,
    ("POST", f"{MODEL}/engine/<setting>"): 204,
    ("POST", f"{MODEL}/gpu/<setting>"): 204,
    ("POST", f"{MODEL}/pull"): REACHED,
    ("POST", "/models/found/<key>"): 404,
    ("POST", f"{MODEL}/cancel"): 204,
    ("POST", f"{MODEL}/dismiss"): 204,
    ("GET", f"{MODEL}/remove"): 200,
    ("POST", "/models/pull"): 422,
    ("POST", "/models/remote"): 422,
    ("POST", f"{MODEL}/arrived"): 204,
    ("POST", "/models/uploads"): 422,  # nothing is chosen
    ("PUT", "/models/upload/<filename>"): REACHED,
    ("GET", "/models/upload/<filename>"): REACHED,
    ("GET", f"{MODEL}/projector"): 200,
    ("PUT", "/models/upload/projector/<name>"): 502,  # nothing arrived
    ("GET", "/models/upload/projector/<name>"): REACHED,
    ("DELETE", "/models/upload/projector/<name>"): REACHED,
    ("GET", "/tools"): 200,
    ("POST", "/tools"): 422,  # nothing was filled in
    ("GET", "/tools/setup"): 200,
    ("POST", "/tools/setup"): 303,
    ("GET", "/tools/<int:server_id>"): 404,
    ("POST", "/tools/<int:server_id>"): 404,
    ("POST", "/tools/<int:server_id>/access"): 422,  # for nobody
    (
        "POST",
        "/tools/<int:server_id>/<any('test', 'switch-on', 'switch-off', 'remove'):verb>",
    ): 404,
    ("GET", "/people"): 200,
    ("POST", "/people/invite"): 200,
    ("POST", "/people/invites/<int:invite_id>/withdraw"): 404,
    ("POST", f"{PERSON}/new-password"): 200,
    ("POST", DECISIONS): 303,
    ("POST", f"{PERSON}/codes-off"): 303,
    ("GET", f"{PERSON}/remove"): 200,
    ("POST", f"{PERSON}/remove"): 303,
    ("DELETE", MODEL): 204,
    ("POST", "/media/<key>/setup"): 404,  # there is no such extra
    ("POST", "/media/<key>/cancel"): 204,
    ("POST", "/media/<name>/choose"): 404,
    ("DELETE", "/media/<name>"): 404,
}

# Without a login; what nobody gets, and whoever is logged in.
PUBLIC: dict[Row, tuple[int, int]] = {
    ("GET", "/artifact"): (200, 200),
    ("GET", "/healthz"): (200, 200),
    ("GET", "/health"): (200, 200),
    ("GET", "/join/<token>"): (404, 404),
    ("POST", "/join/<token>"): (404, 404),
    ("GET", "/login"): (200, 303),
    ("POST", "/login"): (403, 403),
    ("GET", "/login/code"): (303, 303),
    ("POST", "/login/code"): (403, 403),
    ("POST", "/login/code/cancel"): (303, 303),
    ("POST", "/login/passkey"): (403, 403),
    ("POST", "/login/passkey/options"): (200, 200),
    ("GET", "/login/alive"): (401, 204),
    ("GET", "/login/with/<name>"): (404, 404),  # no such provider
    ("GET", "/login/with/<name>/callback"): (404, 404),
    ("GET", "/login/with/<name>/logout"): (404, 404),
    ("GET", "/login/with/<name>/out"): (303, 303),
    ("POST", "/login/with/<name>/backchannel"): (404, 404),
    ("GET", "/shared/<token>"): (404, 404),
    ("GET", "/static/<path:filename>"): (200, 200),
    ("GET", "/static/all.css"): (200, 200),
    ("GET", "/static/all.js"): (200, 200),
    ("GET", "/static/frame.js"): (200, 200),
}

# The same for programs. Who has no login and no key is told so, and led nowhere.
API_CHAT = f"/api/v1{CHAT}"
API_MESSAGE = f"/api/v1{MESSAGE}"
CHATS |= {
    ("GET", API_CHAT): 200,
    ("PATCH", API_CHAT): 200,
    ("POST", f"{API_CHAT}/stop"): 204,
    ("GET", f"{API_CHAT}/messages"): 200,
    ("POST", f"{API_CHAT}/messages"): 202,
    ("GET", API_MESSAGE): 200,
    ("GET", f"{API_MESSAGE}/events"): 200,
    ("POST", f"{API_MESSAGE}/again"): 202,
    ("POST", f"{API_MESSAGE}/edit"): 202,
    ("POST", f"{API_MESSAGE}/continue"): 202,
    ("POST", f"{API_MESSAGE}/branch"): 201,
    ("POST", f"{API_MESSAGE}/calls/<int:number>"): 404,  # nothing asks
    ("GET", f"{API_CHAT}/tools"): 200,
    ("PUT", f"{API_CHAT}/tools"): 200,
    ("GET", f"{API_CHAT}/export.md"): 200,
    ("GET", f"{API_CHAT}/export.json"): 200,
    ("POST", f"{API_CHAT}/export.md"): 400,  # no passphrase
    ("POST", f"{API_CHAT}/export.json"): 400,
    ("DELETE", API_CHAT): 204,
}
PEOPLE |= {
    ("GET", "/settings"): 200,
    ("POST", "/settings/about"): 200,
    ("GET", "/keys"): 200,
    ("POST", "/keys"): 422,  # it has no name
    ("POST", "/keys/<int:key_id>/revoke"): 404,
    ("GET", "/docs/api"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/api/v1/chats"): 200,
    ("POST", "/api/v1/chats"): 201,
    ("GET", "/api/v1/chats/export.json"): 200,
    ("POST", "/api/v1/chats/export.json"): 400,  # no passphrase
    ("GET", "/api/v1/search"): 200,
    ("GET", "/api/v1/models"): 200,
    ("GET", "/v1/models"): 200,
    ("GET", "/v1/models/<path:name>"): 200,
    ("POST", "/v1/chat/completions"): 404,  # no such model
    ("POST", "/v1/completions"): 404,
    ("POST", "/v1/messages"): 404,
    ("POST", "/tokenize"): 404,
    ("POST", "/detokenize"): 404,
    ("POST", "/apply-template"): 404,
    ("GET", "/props"): 200,
    ("POST", "/v1/responses"): 404,
    ("POST", "/v1/responses/input_tokens"): 404,
    ("GET", "/v1/responses/<response_id>"): 404,
    ("DELETE", "/v1/responses/<response_id>"): 404,
    ("GET", "/v1/responses/<response_id>/input_items"): 404,
    ("POST", "/v1/messages/count_tokens"): 404,
    ("POST", "/v1/embeddings"): 404,
    ("POST", "/v1/rerank"): 404,
    ("POST", "/v1/audio/speech"): 501,
    ("GET", "/speech"): 204,
    ("POST", "/speech"): 501,
    ("POST", "/v1/audio/transcriptions"): 415,  # no form
    ("POST", "/v1/audio/translations"): 415,
    ("GET", "/dictation"): 200,
    ("POST", "/dictation"): 501,  # not set up
    ("POST", "/dictation/file"): 501,
    ("POST", "/api/chat"): 404,
    ("POST", "/api/generate"): 404,
    ("GET", "/api/tags"): 200,
    ("POST", "/api/show"): 404,
    ("GET", "/api/ps"): 200,
    ("GET", "/api/version"): 200,
    ("POST", "/api/embed"): 404,
    ("POST", "/api/embeddings"): 404,
}
# What a user keeps beside chats: each their own, so others' are not found.
PERSONA, PROMPT = "/personas/<int:persona_id>", "/prompts/<int:prompt_id>"
FOLDER, API_FOLDER = "/folders/<int:folder_id>", "/api/v1/folders/<int:folder_id>"
CHATS |= {("GET", f"{CHAT}/messages/<int:message_id>/sources/<int:number>"): 404}  # none given
CHATS |= {("GET", f"{CHAT}/folder"): 200, ("POST", f"{CHAT}/folder"): 200}
FILE, TEMPORARY = "/attachments/<int:attachment_id>", "/attachments/temporary"
PEOPLE |= {
    ("GET", FOLDER): 404,
    ("POST", FOLDER): 400,  # no name
    ("DELETE", FOLDER): 404,
    ("GET", "/folders/new"): 200,
    ("POST", "/folders/new"): 400,  # no name
    ("GET", f"{FOLDER}/menu"): 404,
    ("POST", f"{FOLDER}/fold"): 204,  # nothing to do
    ("GET", "/api/v1/folders"): 200,
    ("POST", "/api/v1/folders"): 400,  # no name
    ("GET", API_FOLDER): 404,
    ("PATCH", API_FOLDER): 404,
    ("DELETE", API_FOLDER): 404,
    ("GET", f"{FOLDER}/documents"): 404,
    ("POST", "/folder-documents"): 404,  # no folder
    ("GET", f"{FOLDER}/documents/<int:file_id>"): 404,
    ("DELETE", f"{FOLDER}/documents/<int:file_id>"): 404,
    ("POST", f"{FOLDER}/documents/sharing"): 404,
    ("POST", f"{FOLDER}/documents/use"): 404,  # no folder
    ("GET", "/temporary"): 200,
    ("GET", "/palette"): 200,
    ("GET", "/attachments"): 200,
    ("POST", "/attachments"): 415,  # no name
    ("GET", "/attachments/readings/<key>"): 200,  # of nobody's file
    ("GET", f"{TEMPORARY}/readings/<key>"): 200,
    ("GET", FILE): 404,
    ("GET", f"{FILE}/view"): 404,
    ("DELETE", FILE): 404,
    ("GET", f"{FILE}/picture"): 404,
    ("GET", f"{FILE}/thumbnail"): 404,
    ("POST", f"{FILE}/alt"): 404,
    ("GET", f"{FILE}/text"): 404,
    ("POST", f"{FILE}/text"): 404,
    ("GET", f"{TEMPORARY}/<int:attachment_id>/text"): 404,
    ("POST", f"{TEMPORARY}/<int:attachment_id>/text"): 404,
    ("GET", TEMPORARY): 200,
    ("POST", TEMPORARY): 415,  # no name
    ("DELETE", f"{TEMPORARY}/<int:attachment_id>"): 404,
    ("GET", "/api/v1/files"): 200,
    ("POST", "/api/v1/files"): 201,  # the body is a text
    ("GET", "/api/v1/files/<int:file_id>"): 404,
    ("GET", "/api/v1/files/<int:file_id>/content"): 404,
    ("DELETE", "/api/v1/files/<int:file_id>"): 404,
    ("PATCH", "/api/v1/files/<int:file_id>"): 404,
    ("POST", "/api/v1/files/<int:file_id>/text"): 404,
    ("GET", "/api/v1/files/<int:file_id>/thumbnail"): 404,
    ("GET", "/personas"): 200,
    ("POST", "/personas"): 422,  # no name
    ("GET", PERSONA): 404,
    ("POST", PERSONA): 404,
    ("POST", f"{PERSONA}/delete"): 404,
    ("GET", f"{PERSONA}/card.json"): 404,
    ("GET", f"{PERSONA}/picture"): 404,
    ("GET", "/prompts"): 200,
    ("POST", "/prompts"): 422,  # no name
    ("GET", "/prompts/menu"): 200,
    ("GET", PROMPT): 404,
    ("POST", PROMPT): 404,
    ("POST", f"{PROMPT}/delete"): 404,
    ("GET", f"{PROMPT}/use"): 404,
    ("POST", f"{PROMPT}/use"): 404,
    ("GET", "/library.json"): 200,
    ("POST", "/library/import"): 400,  # no file
    ("GET", "/api/v1/library"): 200,
    ("POST", "/api/v1/library"): 400,
    ("GET", "/api/v1/personas"): 200,
    ("POST", "/api/v1/personas"): 400,
    ("GET", f"/api/v1{PERSONA}"): 404,
    ("PUT", f"/api/v1{PERSONA}"): 404,
    ("DELETE", f"/api/v1{PERSONA}"): 404,
    ("GET", "/api/v1/prompts"): 200,
    ("POST", "/api/v1/prompts"): 400,
    ("GET", f"/api/v1{PROMPT}"): 404,
    ("PUT", f"/api/v1{PROMPT}"): 404,
    ("DELETE", f"/api/v1{PROMPT}"): 404,
}
PUBLIC[("GET", "/shared/<token>/files/<int:attachment_id>")] = (404, 404)
PUBLIC[("GET", "/shared/<token>/files/<int:attachment_id>/thumbnail")] = (404, 404)
BODY = {
    "text": "hello",
    "model": "unheard-of",
    "messages": [{"role": "user", "content": "x"}],
    "prompt": "hello",
}
BODY |= {"input": "hello"}
BODIES: dict[Row, dict[str, Any]] = {
    ("PATCH", API_CHAT): {"title": "Another"},
    ("POST", f"{API_CHAT}/messages"): {"text": "hello", "model": "tiny"},
    ("POST", f"{API_MESSAGE}/again"): {},
    ("POST", f"{API_MESSAGE}/edit"): {"text": "hello", "model": "tiny"},
    ("POST", f"{API_MESSAGE}/continue"): {},
    ("POST", f"{API_MESSAGE}/branch"): {},
    ("POST", f"{API_MESSAGE}/calls/<int:number>"): {"decision": "deny"},
    ("PUT", f"{API_CHAT}/tools"): {"on": []},
    ("POST", "/api/v1/chats"): {"text": "hello", "model": "tiny"},
    ("POST", "/detokenize"): {"model": "unheard-of", "tokens": [1]},
    ("POST", "/v1/responses"): {"model": "unheard-of", "input": "hello"},
    ("POST", "/v1/responses/input_tokens"): {"model": "unheard-of", "input": "hello"},
    ("POST", "/v1/rerank"): {"model": "unheard-of", "query": "x", "documents": ["y"]},
    ("POST", "/v1/audio/speech"): {"input": "x"},
}

# For commands of this machine, which show what the data folder says; for nobody's browser.
TERMINAL: Row = ("POST", "/terminal/<verb>")
SOCKETS = {f"{CHAT}/live", f"{CHAT}/compare/<int:prompt_id>/live", "/live", "/models/live"}


def expected(row: Row) -> dict[str, int]:
    if row in PUBLIC:
        nobody, known = PUBLIC[row]
        return {NOBODY: nobody, OWNER: known, STRANGER: known, MEMBER: known}
    if row == TERMINAL:
        return {NOBODY: 401, OWNER: 403, STRANGER: 403, MEMBER: 403}
    is_program = is_api_path(row[1]) or row[1] == "/metrics"
    nobody = 401 if row[0] != "GET" or is_program else 303
    if row in CHATS:
        return {NOBODY: nobody, OWNER: 404, STRANGER: 404, MEMBER: CHATS[row]}
    if row in OWNERS:
        return {NOBODY: nobody, STRANGER: 403, MEMBER: 403, OWNER: OWNERS[row]}
    return {NOBODY: nobody, OWNER: PEOPLE[row], STRANGER: PEOPLE[row], MEMBER: PEOPLE[row]}


@dataclass
class Street:
    """The application, and everybody of one row: fresh people and a chat of the member's."""

    app: Quart
    folder: Path
    numbers: Any

    async def people(self) -> dict[str, BrowserClient]:
        number = next(self.numbers)
        here, people = context_of(self.app), {NOBODY: BrowserClient(self.app)}
        for name in (OWNER, MEMBER, STRANGER):
            role: Any = OWNER if name == OWNER else MEMBER
            added = await here.users.add(f"{name} {number}", PASSWORD, role)
            people[name] = await self.enter(added.id)
        return people

    async def enter(self, user_id: int) -> BrowserClient:
        token, login = await context_of(self.app).sessions.create(user_id, "Test", "192.0.2.1")
        visitor = BrowserClient(self.app)
        visitor.user_id = user_id
        visitor.headers["X-CSRF-Token"] = login.csrf
        visitor.client.set_cookie("localhost", "wick-login-8000", token)
        return visitor

    async def chat_of(self, user_id: int) -> tuple[str, int, int]:
        chat_id = f"{next(self.numbers):016x}"
        counts: dict[str, str | int | float | None] = {"finish_reason": "length"}

        async def add(connection: aiosqlite.Connection) -> tuple[int, int]:
            await chats.create(connection, chat_id, user_id, WORDS, "tiny", 1.0)
            question = await messages.add_user(
                connection, user_id, chat_id, None, WORDS, "client01", 1.0
            )
            answer = await messages.add_answer(
                connection, user_id, chat_id, question, "tiny", 1.0, None
            )
            await messages.finish(
                connection, user_id, answer, "done", WORDS, 2.0, error=None, counts=counts
            )
            await chats.advance(connection, user_id, chat_id, answer, "tiny", 2.0)
            return question, answer

        question, answer = await context_of(self.app).chats._db.write(add)
        return chat_id, question, answer

    def put_spare(self) -> None:
        """The model that owners may do everything to; one of the rows removes it."""
        models = self.folder / "models"
        shutil.copytree(models / "tiny", models / "spare", dirs_exist_ok=True)

    def rows_of(self, chat_id: str) -> list[Any]:
        """All that is stored of a chat."""
        with closing(sqlite3.connect(f"file:{self.folder / 'wick.db'}?mode=ro", uri=True)) as db:
            return [
                db.execute(sql, (chat_id,)).fetchall()
                for sql in (
                    "SELECT * FROM chats WHERE id = ?",
                    "SELECT * FROM messages WHERE chat_id = ?",
                    "SELECT * FROM removals WHERE chat_id = ?",
                    "SELECT * FROM chat_settings WHERE chat_id = ?",
                    "SELECT * FROM shares WHERE chat_id = ?",
                )
            ]


@pytest.fixture(scope="module")
async def street(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    folder = tmp_path_factory.mktemp("street")
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    settings = Settings(
        host="0.0.0.0",
        data_dir=folder,
        models_dir=folder / "models",
        auto_pull=False,
        threads=1,
        titles="off",
    )
    app = create_app(settings, quick_passwords())

    async def start(*_: object) -> ScriptedRunner:
        return ScriptedRunner(slots=settings.slots)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunnerProcess, "start", start)
        async with app.test_app():
            await sign_in(app, "first")
            yield Street(app, folder, itertools.count(1))


def test_every_route_has_a_row(street: Street) -> None:
    rules = list(street.app.url_map.iter_rules())
    routes = {(m, r.rule) for r in rules if not r.websocket for m in r.methods or ()}
    routes = {row for row in routes if row[0] not in {"HEAD", "OPTIONS"}}
    assert routes == {TERMINAL, *CHATS, *PEOPLE, *OWNERS, *PUBLIC}
    assert {r.rule for r in rules if r.websocket} == SOCKETS


FORMS: dict[Row, dict[str, str]] = {
    ("POST", f"{CHAT}/name"): {"title": "Another"},
    ("POST", f"{CHAT}/title"): {"title": "Another"},
    ("POST", f"{CHAT}/model"): {"model": "tiny"},
    ("POST", f"{MESSAGE}/edit"): {"text": "hello", "client_id": "client02", "model": "tiny"},
    ("POST", f"{MESSAGE}/again"): {"model": "tiny"},
    ("POST", f"{MESSAGE}/settings"): {"newest": "0"},
    ("POST", f"{MESSAGE}/calls/<int:number>"): {"decision": "deny"},
    ("POST", f"{MESSAGE}/compare"): {"models": "tiny", "client_id": "client03"},
    ("POST", "/you/password"): {"old": PASSWORD, "password": "x" * 4 + "yz12", "again": "xxxxyz12"},
    ("POST", "/you/remove"): {"sure": PASSWORD},
    ("POST", "/models/pull"): {"source": "/etc/passwd"},
}


def address(row: Row, chat: tuple[str, int, int], other: int) -> str:
    chat_id, question, answer = chat
    is_question = row[1].endswith("/edit")
    values = {
        "<chat_id>": chat_id,
        "<int:message_id>": str(question if is_question else answer),
        "<int:answer_id>": str(answer),
        "<int:prompt_id>": str(question) if "<chat_id>" in row[1] else "999999",
        "<int:persona_id>": "999999",
        "<int:attachment_id>": "999999",
        "<int:file_id>": "999999",
        "<int:folder_id>": "999999",
        "<int:number>": "0",
        "<name>": "spare",
        "<setting>": "auto",
        "<key>": "0123456789abcdef",
        "<int:user_id>": str(other),
        "<int:session_id>": "1",
        "<int:passkey_id>": "999999",
        "<int:invite_id>": "999999",
        "<int:server_id>": "999999",
        "<any('test', 'switch-on', 'switch-off', 'remove'):verb>": "test",
        "<int:key_id>": "999999",
        "<path:name>": "spare",
        "<token>": "guessed",
        "<filename>": "x.exe",
        "<verb>": "everybody",
        "<path:filename>": "icon.svg",
        DECISIONS.rpartition("/")[2]: "disable",
    }
    path = row[1]
    for name, value in values.items():
        path = path.replace(name, value)
    return path + (f"?newest={answer}" if path.endswith("/again") else "")


@pytest.mark.parametrize(
    "row",
    [*PUBLIC, *PEOPLE, *CHATS, *OWNERS, TERMINAL],
    ids=lambda row: " ".join(row).replace("::", ":"),
)
async def test_each_route_is_for_its_audience(street: Street, row: Row) -> None:
    street.put_spare()
    people = await street.people()
    member = people[MEMBER]
    chat = await street.chat_of(member.user_id)
    before = street.rows_of(chat[0])
    seen: dict[str, int] = {}
    for who, wanted in expected(row).items():  # those who must change nothing come first
        other = await context_of(street.app).users.add(
            f"other {next(street.numbers)}", None, "member"
        )
        given: dict[str, Any] = {}
        if (row[0] in {"POST", "PATCH"} and is_api_path(row[1])) or row in BODIES:
            given = {"json": BODIES.get(row, BODY)}
        elif row[0] == "POST":
            given["form"] = FORMS.get(row, {})
        answer = await people[who].ask(row[0], address(row, chat, other.id), **given)
        body = await answer.get_data(as_text=False)
        is_reached = wanted == REACHED and answer.status_code not in {303, 401, 403}
        seen[who] = REACHED if is_reached else answer.status_code
        if who != MEMBER:
            assert WORDS.encode() not in body, who
            assert street.rows_of(chat[0]) == before, who
        if wanted == 303 and who == NOBODY:
            assert answer.headers["Location"].startswith("/login")
    assert seen == expected(row)


async def test_pages_show_each_user_their_own_chats(street: Street) -> None:
    """The member finds the chat wherever chats are listed, and nobody else does."""
    people = await street.people()
    chat_id, *_ = await street.chat_of(people[MEMBER].user_id)
    for page in ("/", f"/search?q={WORDS}", "/exchange/chats.json"):
        for who in (OWNER, STRANGER, MEMBER):
            answer = await people[who].ask("GET", page)
            body = await answer.get_data(as_text=False)
            assert (chat_id.encode() in body) is (who == MEMBER), (page, who)


async def heard(connection: Any, words: str) -> str:
    said = ""
    async with asyncio.timeout(PATIENCE):
        while words not in said:
            said += await connection.receive()
    return said


async def opens(visitor: BrowserClient, path: str) -> int:
    """The status with which a socket is opened (101) or refused."""
    try:
        async with visitor.client.websocket(path, headers=visitor.headers) as connection:
            async with asyncio.timeout(PATIENCE):
                await connection.receive()
            return 101
    except WebsocketResponseError as error:
        return int(error.response.status_code)
    except WebsocketDisconnectError:
        return 1008


def prompt() -> str:
    values = {"text": "hello", "client_id": f"{next(CLIENTS):016x}", "model": "tiny"}
    return json.dumps(values)


CLIENTS = itertools.count(1000)


async def test_each_socket_is_for_its_audience(street: Street) -> None:
    people = await street.people()
    chat_id, *_ = await street.chat_of(people[MEMBER].user_id)
    for path, allowed in (
        (f"/chats/{chat_id}/live", {MEMBER}),
        (f"/chats/{next(street.numbers):016x}/live", {OWNER, MEMBER, STRANGER}),  # free for all
        ("/models/live", {OWNER, MEMBER, STRANGER}),
    ):
        for who, visitor in people.items():
            status = await opens(visitor, path)
            assert (status == 101) is (who in allowed), (path, who, status)
            if who == NOBODY:
                assert status == 401


MESSAGES: dict[str, Callable[[], str]] = {
    "a prompt": prompt,
    "a look back": lambda: json.dumps({"earlier": "1"}),
    "nonsense": lambda: "nonsense",
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_every_message_of_a_socket_is_checked_anew(street: Street, name: str) -> None:
    """A chat that was free when a stranger opened its page belongs to the member by now."""
    people = await street.people()
    for who in (OWNER, STRANGER):
        visitor = people[who]
        chat_id = f"{next(street.numbers):016x}"
        async with visitor.client.websocket(
            f"/chats/{chat_id}/live", headers=visitor.headers
        ) as connection:
            await connection.receive()
            street.numbers = itertools.chain([int(chat_id, 16)], street.numbers)
            assert (await street.chat_of(people[MEMBER].user_id))[0] == chat_id
            before = street.rows_of(chat_id)
            await connection.send(MESSAGES[name]())
            if name == "a look back":
                await connection.send("nonsense")
            said = await heard(connection, 'id="notice"')
            assert WORDS not in said
            assert street.rows_of(chat_id) == before


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_after_the_login_has_ended_does_nothing(street: Street, name: str) -> None:
    people = await street.people()
    member = people[MEMBER]
    chat_id, *_ = await street.chat_of(member.user_id)
    async with member.client.websocket(
        f"/chats/{chat_id}/live", headers=member.headers
    ) as connection:
        await connection.receive()
        before = street.rows_of(chat_id)
        with closing(sqlite3.connect(street.folder / "wick.db")) as db, db:  # as a command does it
            db.execute("DELETE FROM logins WHERE user_id = ?", (member.user_id,))
        await connection.send(MESSAGES[name]())
        with pytest.raises(WebsocketDisconnectError, match="1008"):
            await heard(connection, "what is never said")
    assert street.rows_of(chat_id) == before


async def test_the_terminal_shows_what_only_the_data_folder_says(street: Street) -> None:
    here, visitor = context_of(street.app), BrowserClient(street.app)
    own = {"Authorization": f"Bearer {here.secret}", "Accept": "text/plain"}
    everybody = "/terminal/everybody"
    for secret in ("", here.secret[:-1], here.secret + "x", here.secret.swapcase(), "ü"):
        answer = await visitor.ask("POST", everybody, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code in {401, 403}
    for foreign in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        answer = await visitor.ask("POST", everybody, json={}, headers=own | foreign)
        assert answer.status_code == 403
    answer = await visitor.ask("POST", everybody, json={}, headers=own)
    assert "first" in [person["name"] for person in await answer.get_json()]
    for path, body, status in (
        ("/terminal/_id_of", {"name": None}, 404),
        ("/terminal/__init__", {}, 404),
        ("/terminal/named", {"nobody": "x"}, 400),
        ("/terminal/named", [], 400),
        ("/terminal/named", b"[" * 100_000, 400),
        ("/terminal/named", b'{"name":"\xff"}', 400),
        ("/terminal/named", {"name": "nobody"}, 404),
        ("/terminal/add", {"name": "", "password": "", "role": "member"}, 422),
    ):
        sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        answer = await visitor.ask("POST", path, **sent, headers=own)
        assert answer.status_code == status, path
    assert (await visitor.ask("GET", "/status", headers=own)).status_code == 200


async def test_a_role_is_another_at_once(street: Street) -> None:
    """The pages of whoever was an owner are loaded anew, and offer what a member may do."""
    people = await street.people()
    owner, other = people[OWNER], await street.people()
    path = f"/chats/{next(street.numbers):016x}/live"
    async with (
        owner.client.websocket(path, headers=owner.headers) as hers,
        other[OWNER].client.websocket(path, headers=other[OWNER].headers) as bystander,
    ):
        await hers.receive()
        await bystander.receive()
        verb = f"/people/{owner.user_id}/make-member"
        assert (await other[OWNER].ask("POST", verb)).status_code == 303
        with pytest.raises(WebsocketDisconnectError, match="4001"):
            await heard(hers, "what is never said")
        await bystander.send("nonsense")
        await heard(bystander, 'id="notice"')
    assert (await owner.ask("GET", "/status")).status_code == 403
    html = await (await owner.ask("GET", "/")).get_data(as_text=True)
    assert 'href="/people"' not in html


async def test_sockets_need_our_origin_and_a_cookie_that_holds(street: Street) -> None:
    people = await street.people()
    member = people[MEMBER]
    path = f"/chats/{next(street.numbers):016x}/live"
    for origin in ("http://evil.example", "null", "http://localhost:9999"):
        member.headers["Origin"] = origin
        assert await opens(member, path) == 403
    member.headers["Origin"] = OWN["Origin"]
    assert await opens(member, path) == 101
    await context_of(street.app).users.disable(member.user_id)
    assert await opens(member, path) == 401
