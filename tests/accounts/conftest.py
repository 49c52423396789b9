from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from app.accounts.passwords import Passwords
from app.accounts.sessions import Sessions
from app.accounts.throttle import LoginThrottle
from app.accounts.users import Users
from app.db.connection import Database, open_database

PASSWORD = "correct horse battery"


@dataclass
class Clock:
    now: float = field(default=1_700_000_000.0)

    def __call__(self) -> float:
        return self.now


@dataclass
class Accounts:
    db: Database
    sessions: Sessions
    users: Users
    passwords: Passwords
    clock: Clock


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    clock = Clock()
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with open_database(tmp_path / "wick.db") as db:
        sessions = Sessions(db, clock)
        users = Users(db, sessions, passwords, LoginThrottle(clock=clock), clock)
        yield Accounts(db, sessions, users, passwords, clock)
