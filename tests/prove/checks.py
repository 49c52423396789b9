"""Checks of a database: whatever was acknowledged is in it, once, and it is sound."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.server import Server

ENDED: Final = ("done", "stopped", "failed", "interrupted")
TRACES: Final = re.compile(r"Traceback|An error inside Wick|Task exception was never retrieved")
SHOWN_BEFORE: Final = 300
SHOWN: Final = 1500


def losses_of(server: Server, acknowledged: Mapping[str, str]) -> list[str]:
    """Name what is lost or wrong after all answers have ended."""
    asked = {
        row["client_id"]: row for row in server.rows("SELECT * FROM messages WHERE role = 'user'")
    }
    losses = [
        f"{text} was acknowledged and is gone"
        for client_id, text in acknowledged.items()
        if client_id not in asked or asked[client_id]["text"] != text
    ]
    answers = server.rows("SELECT * FROM messages WHERE role = 'assistant'")
    for prompt, count in Counter(row["parent_id"] for row in answers).items():
        if count != 1:
            losses.append(f"prompt {prompt} has {count} answers")
    answered = {row["parent_id"] for row in answers}
    losses += [
        f"{row['text']} has no answer" for row in asked.values() if row["id"] not in answered
    ]
    losses += [f"an answer is {row['status']}" for row in answers if row["status"] not in ENDED]
    losses += [
        f"answer {row['id']} was cut without a word"
        for row in answers
        if row["status"] in {"failed", "interrupted"} and not row["error"]
    ]
    if server.rows("SELECT 1 FROM checkpoints"):
        losses.append("a checkpoint of an answer that has ended")
    return losses + damage_of(server)


def damage_of(server: Server) -> list[str]:
    """Name what SQLite finds wrong in the database."""
    found = [str(row[0]) for row in server.rows("PRAGMA integrity_check")]
    damage = [] if found == ["ok"] else [f"integrity: {line}" for line in found]
    for row in server.rows("PRAGMA foreign_key_check"):
        damage.append(f"a row of {row[0]} refers to nothing")
    return damage


def traces_of(server: Server) -> list[str]:
    """Show the first error inside Wick that the log has."""
    return traces_in(server.log)


def traces_in(log: str) -> list[str]:
    found = TRACES.search(log)
    if found is None:
        return []
    start = max(0, found.start() - SHOWN_BEFORE)
    return [f"the log has: {log[start : start + SHOWN]}"]


def statuses_of(server: Server) -> Counter[str]:
    """Count the answers by how they ended."""
    sql = "SELECT status FROM messages WHERE role = 'assistant'"
    return Counter(str(row["status"]) for row in server.rows(sql))


def processes_with(folder: Path) -> list[int]:
    """Find the processes whose temporary files are in `folder`."""
    wanted, found = f"TMPDIR={folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environ.split(b"\0"):
            found.append(int(process.name))
    return found
