"""Wick as a process of its own, to be started, asked, stopped and killed like the real thing."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import httpx

from tests.forked import ForkedProcess
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
POLL = 0.02
# Other tests may run beside these, so each process begins somewhere else.
_PORTS = iter(random.sample(range(10_000, 32_000), 22_000))


class Server:
    """Process `python -m app serve` with its data in `folder`. Settings are given without their
    prefix.

    before: words of a command that runs it. One thread thinks: two wait for each other, for long
    where other tests are at work.
    """

    def __init__(
        self,
        folder: Path,
        models: Path,
        environ: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        **settings: str | int | Path,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.origin = f"{'https' if 'tls_cert' in settings else 'http'}://127.0.0.1:{self.port}"
        self.trusted: Path | None = None
        self._log = folder / "server.log"
        given: dict[str, object] = {
            "auto_pull": 0,
            "measure_engines": 0,
            "context": 4096,
            "port": self.port,
            "threads": 1,
        }
        given |= {"models_dir": models, "data_dir": folder, **settings}
        self.data = Path(str(given["data_dir"]))
        self._environ = environment(given) | dict(environ or {})
        self._before = before
        self._process: asyncio.subprocess.Process | ForkedProcess | None = None
        self._suspended: list[int] = []

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Tell whether the process is gone, by itself or by a signal."""
        return self._process is None or self._process.returncode is not None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> Server:
        """Returns when it serves. Again after an end: the same port, the same data."""
        if self._before:
            self._process = await self._start_anew()
        else:
            self.launch()
        await self.serves()
        return self

    def launch(self) -> None:
        """Begin to start it, and wait for nothing."""
        with self._log.open("ab") as log:
            given = (["serve"], self._environ, self.folder, log.fileno())
            self._process = ForkedProcess(*given)

    async def _start_anew(self) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(*self._before, sys.executable, "-m", "app", "serve"),
                cwd=self.folder,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def serves(self) -> None:
        """Return once it answers."""
        async with asyncio.timeout(PATIENCE):
            while not await self._listens():
                assert self._process is None or self._process.returncode is None, self.log
                await asyncio.sleep(POLL)
            async with httpx.AsyncClient(verify=self._tls()) as client:
                assert (await client.get(f"{self.origin}/healthz")).status_code == 200

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def _tls(self) -> ssl.SSLContext | bool:
        """Trust the server's certificate; where it has none, loading all others takes long."""
        return self.origin.startswith("https") and ssl.create_default_context(cafile=self.trusted)

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment in which a command finds this server."""
        return self._environ

    async def stop(self) -> int:
        """Stop it like Ctrl-C or a service manager; return the exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        for pid in self._suspended:  # else they would never see that they are to end
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    def runners(self) -> list[int]:
        """The process ids of its runners."""
        return [
            pid for pid in children(self.pid) if "app.inference.runner.main" in command_line(pid)
        ]

    def suspend_runners(self) -> None:
        """Let answers go on for ever, and cost nothing."""
        self._suspended = self.runners()
        for pid in self._suspended:
            os.kill(pid, signal.SIGSTOP)

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        database = sqlite3.connect(f"file:{self.data / 'wick.db'}?mode=ro", uri=True)
        with closing(database):
            database.row_factory = sqlite3.Row
            return database.execute(sql, values).fetchall()

    def messages(self, chat_id: str, role: str = "assistant") -> list[sqlite3.Row]:
        return self.rows(
            "SELECT * FROM messages WHERE chat_id = ? AND role = ? ORDER BY id", chat_id, role
        )

    async def said(self, pattern: str) -> str:
        """The latest of what matches in its log, once something does."""
        async with asyncio.timeout(PATIENCE):
            while not (found := re.findall(pattern, self.log)):
                await asyncio.sleep(POLL)
        return str(found[-1])

    async def checkpointed(self) -> None:
        """Returns when part of an answer that runs is on the disk."""
        async with asyncio.timeout(PATIENCE):
            while not self.rows("SELECT 1 FROM checkpoints WHERE text <> ''"):
                await asyncio.sleep(POLL)


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment with these settings, and no others of Wick or pip."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WICK_")}
    given = {f"WICK_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | given | {"PYTHONPATH": str(ROOT)}


def free_port() -> int:
    """A port that nobody listens on. It is none of those that the system hands out by itself, so
    that it stays free until it is used, and while its server is away."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and _parent(folder) == parent:
            found.append(int(folder.name))
    return found


def _parent(folder: Path) -> int | None:
    try:
        # The name of the program, in brackets, may hold anything.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


async def gone(pid: int) -> None:
    """Returns when that process is no more."""
    async with asyncio.timeout(PATIENCE):
        while command_line(pid):  # empty for a dead process that nobody has waited for yet
            await asyncio.sleep(POLL)
