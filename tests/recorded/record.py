"""Record a data folder that a version of Wick made: `python -m tests.recorded.record COMMIT`.

The commit's own server runs from a copy of its files, with the packages that are installed here,
and is used as a person's browser and commands use it. What it leaves is packed beside this file,
with a manifest of what must be found in it for ever. A schema's last commit is the one to record.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import lzma
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.server import ROOT, free_port
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

HERE: Final = Path(__file__).parent
POLL_SECONDS: Final = 0.05
MODEL: Final = "tiny"
PASSWORD: Final = "a phrase of several words"
USERS: Final = ("ada", "ben")
LONG: Final = "Tell me about the walrus and the long way that he went over the ice."
"""Long enough that the state of its answer is worth a snapshot."""
LEFT_OUT: Final = re.compile(r"reserve|.*\.(log|lock|gguf|db-shm)|owner\.json")
TITLES, ARCHIVE, BRANCHES, ACCOUNTS, KEYS, SHARES = 2, 4, 5, 6, 7, 8
"""Schemas from which a version has these."""
CHAT_COLUMNS: Final = ("id", "user_id", "title", "deleted_at", "archived_at", "pinned_at")
MESSAGE_COLUMNS: Final = ("id", "chat_id", "parent_id", "role", "text", "status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    commit = parser.parse_args().commit
    with tempfile.TemporaryDirectory(prefix="recorded-") as name:
        version = Version(commit, Path(name))
        manifest = version.record()
        stem = HERE / f"schema-{version.schema:02}"
        stem.with_suffix(".json").write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        )
        stem.with_suffix(".tar.xz").write_bytes(pack(version.data))
        print(f"{stem.name}: {stem.with_suffix('.tar.xz').stat().st_size} bytes")


def pack(folder: Path) -> bytes:
    """Everything but logs, locks, the disk reserve and the model, which tests write anew."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not LEFT_OUT.fullmatch(path.name):
                archive.add(path, path.relative_to(folder), filter=_without_owner)
    return lzma.compress(packed.getvalue(), preset=9)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


class Version:
    """A commit's files in a folder, and the data that its server makes beside them."""

    def __init__(self, commit: str, folder: Path) -> None:
        self.commit = _git("rev-parse", "--short", commit).decode().strip()
        self.tree, self.data = folder / "tree", folder / "data"
        self.tree.mkdir()
        self.data.mkdir(mode=0o700)
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
            archive.extractall(self.tree, filter="data")
        self.schema = len(list((self.tree / "migrations").glob("*.sql")))
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"

    def record(self) -> dict[str, Any]:
        """Make the folder; what is in it."""
        source = write_tiny_gguf(self.data.parent / f"{MODEL}.gguf")
        self.command("models", "import", str(source))
        names = USERS if self.schema >= ACCOUNTS else ("",)
        for name in filter(None, names):
            self.command("user", "add", name, said=f"{PASSWORD}\n")
        key = ""
        if self.schema >= KEYS:
            words = ("--scope", "chat", "--scope", "read")
            key = self.command("key", "add", "a program", *words, "--user", USERS[0]).strip()
        shares: dict[str, str] = {}
        paths: dict[str, list[int]] = {}
        with self.serving():
            for name in names:
                with Browser(self, name) as browser:
                    chats = browser.make_chats()
                    shares |= browser.shares
                    paths |= {chat_id: browser.path(chat_id) for chat_id in chats}
        return {
            "commit": self.commit,
            "schema": self.schema,
            "users": [name for name in names if name],
            "password": PASSWORD,
            "key": key,
            "shares": shares,
            "paths": paths,
            "settings": {"system_prompt": "Be brief.", "temperature": 0.5},
            "chats": self.rows("chats", CHAT_COLUMNS),
            "messages": self.rows("messages", MESSAGE_COLUMNS),
        }

    def command(self, *words: str, said: str = "") -> str:
        """What `wick` of this version printed."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=self.tree,
            env=self._environ(),
            input=said,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Its server, which ends as by Ctrl-C."""
        with (self.data / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=self.tree,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait(self._is_up, "the server")
            yield
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        except BaseException:
            process.kill()
            process.wait()
            print((self.data / "server.log").read_text(), file=sys.stderr)
            raise

    def _is_up(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.origin}/healthz").status_code == 200
        return False

    def wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"never saw {what}"
            time.sleep(POLL_SECONDS)

    def rows(self, table: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """Those of the columns that this schema has."""
        with closing(sqlite3.connect(f"file:{self.data / 'wick.db'}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            found = db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()  # noqa: S608
        return [{name: row[name] for name in columns if name in row.keys()} for row in found]  # noqa: SIM118

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WICK_")}
        accounts = {"WICK_ACCOUNTS": "on"} if self.schema >= ACCOUNTS else {}
        titles = {"WICK_TITLES": "off"} if self.schema >= TITLES else {}
        return (
            kept
            | accounts
            | titles
            | {
                "PYTHONPATH": str(self.tree),
                "WICK_PORT": str(self.port),
                "WICK_DATA_DIR": str(self.data),
                "WICK_MODELS_DIR": str(self.data / "models"),
                "WICK_DEFAULT_MODEL": MODEL,
                "WICK_AUTO_PULL": "0",
                "WICK_THREADS": "1",
                "WICK_MAX_TOKENS": "24",
            }
        )


class Browser:
    """One person's, with what their pages would send. `name`: empty where nobody logs in."""

    def __init__(self, version: Version, name: str) -> None:
        self.version, self.name = version, name or "somebody"
        self.shares: dict[str, str] = {}
        self._client = httpx.Client(
            base_url=version.origin, headers={"Origin": version.origin}, timeout=PATIENCE
        )
        if name:
            log_in(self._client, name, PASSWORD)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def make_chats(self) -> list[str]:
        """One with branches and settings, one renamed, pinned and shared, one in the archive, one
        in the trash."""
        schema = self.version.schema
        branched = self.begin(f"{self.name} asks first. {LONG}")
        self.ask(branched, "And the second question?")
        if schema >= BRANCHES:
            self._branch(branched)
        renamed = self.begin(f"{self.name} asks in a chat with a name.")
        self._post(f"/chats/{renamed}/name", title=f"The walrus of {self.name}")
        kept = [branched, renamed]
        if schema >= ARCHIVE:
            self._post(f"/chats/{renamed}/pin")
            kept.append(self.begin(f"{self.name} asks for the archive."))
            self._post(f"/chats/{kept[-1]}/archive")
        if schema >= SHARES:
            page = self._post(f"/chats/{renamed}/share").text
            found = re.search(r"/shared/[\w-]+", page)
            assert found, page
            self.shares[renamed] = found[0]
        deleted = self.begin(f"{self.name} asks for the trash.")
        self._client.delete(f"/chats/{deleted}").raise_for_status()
        return kept

    def _branch(self, chat_id: str) -> None:
        """Another answer and another wording, and settings of its own."""
        chosen = {"system_prompt": "Be brief.", "temperature": "0.5"}
        self._post(f"/chats/{chat_id}/settings", **chosen)
        question, _, _, newest = self.path(chat_id)
        here = f"/chats/{chat_id}/messages"
        self._answered(f"{here}/{newest}/again?newest={newest}", chat_id, model=MODEL)
        text = f"{self.name} asks in other words. {LONG}"
        values = {"text": text, "client_id": secrets.token_hex(16), "model": MODEL}
        self._answered(f"{here}/{question}/edit", chat_id, **values)

    def begin(self, text: str) -> str:
        chat_id = secrets.token_hex(8)
        self.ask(chat_id, text)
        return chat_id

    def ask(self, chat_id: str, text: str) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in self._client.cookies.items())
        before = len(self._messages(chat_id))
        url = f"{self.version.origin.replace('http', 'ws', 1)}/chats/{chat_id}/live"
        values = {"text": text, "client_id": secrets.token_hex(16), "model": MODEL}
        with connect(
            url,
            origin=Origin(self.version.origin),
            additional_headers={"Cookie": cookies} if cookies else {},
        ) as socket:
            socket.send(json.dumps(values))
            self.version.wait(lambda: self._has_answered(chat_id, before), "an answer")

    def _answered(self, path: str, chat_id: str, **values: str) -> None:
        before = len(self._messages(chat_id))
        self._post(path, **values)
        self.version.wait(lambda: self._has_answered(chat_id, before), "an answer")

    def _has_answered(self, chat_id: str, before: int) -> bool:
        found = self._messages(chat_id)
        return len(found) > before and all(row["status"] == "done" for row in found)

    def _messages(self, chat_id: str) -> list[dict[str, Any]]:
        rows = self.version.rows("messages", MESSAGE_COLUMNS)
        return [row for row in rows if row["chat_id"] == chat_id]

    def path(self, chat_id: str) -> list[int]:
        """The messages that the chat's page shows."""
        page = self._client.get(f"/chats/{chat_id}").raise_for_status().text
        return [int(number) for number in re.findall(r'data-message-id="(\d+)"', page)]

    def _post(self, path: str, **values: str) -> httpx.Response:
        return self._client.post(path, data=values).raise_for_status()


def log_in(client: httpx.Client, name: str, password: str) -> None:
    """As with the page's form; afterwards the client sends what its pages would."""
    values: Mapping[str, str] = {"name": name, "password": password}
    token = re.search(r'name="csrf" value="([^"]+)"', client.get("/login").text)
    assert token
    client.post("/login", data={**values, "csrf": token[1]})
    page = client.get("/").raise_for_status().text
    header = re.search(r'"X-CSRF-Token": "([^"]+)"', page)
    assert header, page
    client.headers["X-CSRF-Token"] = header[1]


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


if __name__ == "__main__":
    main()
