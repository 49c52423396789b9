"""A real server with accounts: from its first link on, and what commands do to it while it runs."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from app.datadir import OWNER_FILE, ServerInfo, lock_data_folder
from tests.application import PASSWORD, csrf_in
from tests.e2e.server import Server
from tests.forked import run_command
from tests.patience import PATIENCE

CHAT = "0123456789abcdef"
LINK = r"http\S+/join/\S+"


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder, folder / "models", host="0.0.0.0")
    yield await server.start()
    assert await server.stop() == 0
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with serving(tmp_path_factory.mktemp("accounts")) as server:
        await wick_anew(server, "user", "add", "Anna", typed=f"{PASSWORD}\n")
        yield server


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[Server]:
    """Server without any account."""
    async with serving(tmp_path) as server:
        yield server


async def wick(server: Server, *arguments: str, typed: str = "") -> tuple[int, str]:
    """Run a command on the same machine; return its exit code and its output."""
    given = (arguments, server.environ, server.folder, typed)
    done = await asyncio.to_thread(run_command, *given)
    return done.returncode, done.stdout + done.stderr


async def wick_anew(server: Server, *arguments: str, typed: str) -> None:
    """Run a command that imports all it needs by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        env=server.environ,
        cwd=server.folder,
        stdin=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        await process.communicate(typed.encode())
    assert process.returncode == 0


@asynccontextmanager
async def browser(server: Server, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=server.origin, headers={"Origin": server.origin}, trust_env=False, **options
    ) as client:
        yield client


async def join(client: httpx.AsyncClient, link: str, name: str) -> None:
    path = "/join/" + link.rpartition("/")[2]
    form = {"csrf": csrf_in((await client.get(path)).text), "name": name}
    form |= {"password": PASSWORD, "again": PASSWORD}
    answer = await client.post(path, data=form)
    assert answer.status_code == 303, answer.text
    client.headers["X-CSRF-Token"] = csrf_in((await client.get("/archive")).text)


async def log_in(client: httpx.AsyncClient, name: str) -> int:
    form = {"csrf": csrf_in((await client.get("/login")).text), "name": name, "password": PASSWORD}
    return (await client.post("/login", data=form)).status_code


@asynccontextmanager
async def socket(
    server: Server, client: httpx.AsyncClient, chat_id: str = CHAT, **options: Any
) -> AsyncIterator[ClientConnection]:
    cookie = "; ".join(f"{c.name}={c.value}" for c in client.cookies.jar)
    async with (
        asyncio.timeout(PATIENCE),
        connect(
            server.origin.replace("http", "ws", 1) + f"/chats/{chat_id}/live",
            origin=Origin(server.origin),
            additional_headers={"Cookie": cookie},
            proxy=None,
            close_timeout=1,
            **options,
        ) as connection,
    ):
        yield connection


async def closed(connection: ClientConnection) -> int | None:
    """Wait until the server closes it; return the code."""
    try:
        while True:
            await connection.recv()
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else None


async def test_accounts_from_the_setup_link_to_the_removal_of_the_last_user(fresh: Server) -> None:
    server = fresh
    first = await server.said(LINK)
    async with (
        browser(server) as anna,
        browser(server) as berta,
        browser(server) as elsewhere,
    ):
        await join(anna, first, "Anna")
        assert (await elsewhere.get("/join/" + first.rpartition("/")[2])).status_code == 404
        code, output = await wick(server, "user", "invite")
        assert code == 0
        await join(berta, re.findall(LINK, output)[0], "Berta")
        assert await log_in(elsewhere, "berta") == 303
        code, output = await wick(server, "user", "list")
        assert re.search(r"Anna +owner +active", output)
        assert re.search(r"Berta +member +active", output)

        # A login that ends in one place closes what is open there at once, and nothing else.
        async with (
            socket(server, anna) as hers,
            socket(server, berta, "1" * 16) as one,
            socket(server, elsewhere, "1" * 16) as other,
        ):
            token = csrf_in((await elsewhere.get("/archive")).text)
            await elsewhere.post("/logout", data={"csrf": token})
            assert await closed(other) == 1008
            pong = await one.ping()
            await pong

            # A command keeps her out, whatever server runs.
            code, output = await wick(server, "user", "disable", "berta")
            assert (code, output) == (0, "Blocked Berta and ended all of their sessions.\n")
            assert await closed(one) == 1008
            assert (await berta.get("/")).status_code == 303
            assert await log_in(elsewhere, "berta") == 403
            with pytest.raises(InvalidStatus, match="401"):
                async with socket(server, berta, "1" * 16):
                    pass
            pong = await hers.ping()
            await pong

        assert (await wick(server, "user", "enable", "Berta"))[0] == 0
        code, output = await wick(server, "user", "reset-codes", "berta")
        assert (code, output) == (0, "Berta has not turned on one-time codes.\n")
        assert await log_in(berta, "berta") == 303
        text = json.dumps({"text": "x", "client_id": "0" * 16, "model": "none"})
        async with socket(server, berta, "1" * 16) as connection:
            await connection.send(text)
            code, output = await wick(server, "user", "passwd", "berta", typed=f"{PASSWORD} two\n")
            assert code == 0
            assert await closed(connection) == 1008

        # A key that is revoked opens nothing, and is known to the running server alone.
        code, key = await wick(server, "key", "add", "An editor", "--user", "berta")
        assert code == 0
        bearer = {"Authorization": f"Bearer {key.strip()}"}
        assert (await elsewhere.get("/v1/models", headers=bearer)).status_code == 200
        code, output = await wick(server, "key", "list", "--user", "berta")
        number = re.findall(r"(\d+) +An edi", output)[0]
        assert (await wick(server, "key", "revoke", number, "--user", "berta"))[0] == 0
        assert (await elsewhere.get("/v1/models", headers=bearer)).status_code == 401

        code, output = await wick(server, "user", "remove", "berta", "--yes")
        assert (code, output) == (0, "Deleted Berta and all of their chats.\n")
        assert len(server.rows("SELECT 1 FROM users")) == 1
        assert (await wick(server, "user", "remove", "anna", "--yes"))[0] == 1
        assert (await anna.get("/")).status_code == 200


async def test_wick_models_asks_a_server_with_accounts_as_the_owner(server: Server) -> None:
    before = server.rows("SELECT id FROM logins")
    for action in ("load", "unload"):
        code, output = await wick(server, "models", action, "unheard-of")
        assert (code, output) == (1, "wick: No model named “unheard-of” is installed.\n")
    assert server.rows("SELECT id FROM logins") == before


async def test_wick_user_owns_the_data_folder_while_no_server_runs(tmp_path: Path) -> None:
    server = Server(tmp_path, tmp_path / "models", host="0.0.0.0")  # which is never started
    code, output = await wick(server, "user", "add", "Anna", typed=f"{PASSWORD}\n")
    assert (code, output.splitlines()[0]) == (0, "Anna can log in, as an owner.")
    with closing(sqlite3.connect(tmp_path / "wick.db")) as db, db:
        db.execute("INSERT INTO one_time_codes VALUES (1, 'GEZDGNBVGY3TQOJQ', 1.0, 1)")
    assert re.search(r"Anna +owner +active +on", (await wick(server, "user", "list"))[1])
    code, output = await wick(server, "user", "reset-codes", "anna")
    assert (code, output) == (0, "Turned off one-time codes: Anna logs in by password alone.\n")
    with lock_data_folder(tmp_path, "wick chat"):
        code, output = await wick(server, "user", "list")
    assert code == 1
    assert "in use by “wick chat”" in output
    left = ServerInfo(1, "wick serve", "http://x", "y")
    (tmp_path / OWNER_FILE).write_text(json.dumps(asdict(left)))
    code, output = await wick(server, "user", "list")  # whoever wrote that has died
    assert re.search(r"Anna +owner +active", output)


async def test_one_address_has_only_so_many_connections(tmp_path: Path) -> None:
    server = Server(tmp_path, tmp_path / "models", host="0.0.0.0", connections_per_address=8)
    await server.start()
    try:
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as held:
            output = b""
            while not output:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                held.callback(writer.close)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 429 " in head:
                    output = await reader.read()
            assert b"Too many connections" in output
        async with asyncio.timeout(PATIENCE), browser(server) as anna:
            while (await anna.get("/healthz")).status_code == 429:
                pass
        (entry,) = re.findall(r'"limit": "connections".*', server.log)
        assert '"address": "127.0.0.1"' in entry
    finally:
        assert await server.stop() == 0
    assert "Traceback" not in server.log


async def test_an_account_error_is_one_line(server: Server) -> None:
    for arguments, typed, sentence in (
        (("passwd", "nobody"), "", "There is no user “nobody”."),
        (("add", "Clara"), "short\n", "at least 8 characters"),
        (("add", "a/b"), f"{PASSWORD}\n", "letters, digits"),
        (("remove", "nobody", "--yes"), "", "There is no user"),
    ):
        code, output = await wick(server, "user", *arguments, typed=typed)
        assert code == 1
        assert sentence in output
        assert output.count("\n") == 1


async def test_with_a_certificate_everything_is_under_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(b.bytes() for b in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(root)
    server = Server(tmp_path, tmp_path / "models", host="0.0.0.0", tls_cert=chain, tls_key=key)
    server.trusted = root
    await server.start()
    context = ssl.create_default_context(cafile=root)
    try:
        assert f"Wick is at https://0.0.0.0:{server.port}" in server.log
        assert "unencrypted" not in server.log
        async with browser(server, verify=context) as anna:
            await join(anna, await server.said(LINK), "Anna")
            (cookie,) = [c for c in anna.cookies.jar if "login" in c.name]
            assert cookie.name == f"__Host-wick-login-{server.port}"
            assert cookie.secure
            assert cookie.has_nonstandard_attr("HttpOnly")
            async with socket(server, anna, ssl=context) as connection:
                await anna.post("/logout")
                assert await closed(connection) == 1008
        code, output = await wick(server, "models", "unload", "unheard-of")
        assert (code, output) == (1, "wick: No model named “unheard-of” is installed.\n")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{server.port}/", trust_env=False)
    finally:
        assert await server.stop() == 0
    assert "Traceback" not in server.log
