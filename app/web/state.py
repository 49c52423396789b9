"""What the screens work with, found on the running application."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import partial

from quart import current_app

from app.accounts.keys import Keys
from app.accounts.logins import Logins
from app.accounts.people import People
from app.chats.asking import Asking
from app.chats.branches import Branches
from app.chats.exports import Exports
from app.chats.hub import Hub
from app.chats.imports import Imports
from app.chats.leaving import Leaving
from app.chats.limits import Limits
from app.chats.search import Search
from app.chats.service import Chats
from app.chats.shares import Shares
from app.chats.trash import Trash
from app.config import Settings
from app.inference.pool import Pool
from app.models.pulls import Pulls
from app.models.shelf import Shelf
from app.web.fragments import Fragments
from app.web.growing import Growing


@dataclass(slots=True)
class State:
    """One server's parts. `is_closing` once it is being stopped.

    secret: known to whoever may read the data folder, for as long as this process lives.
    """

    settings: Settings
    shelf: Shelf
    pulls: Pulls
    hub: Hub
    chats: Chats
    asking: Asking
    branches: Branches
    pool: Pool
    fragments: Fragments
    growing: Growing
    search: Search
    trash: Trash
    exports: Exports
    imports: Imports
    people: People
    logins: Logins
    keys: Keys
    leaving: Leaving
    limits: Limits
    shares: Shares
    is_closing: bool = field(default=False)
    secret: str = field(default_factory=partial(secrets.token_urlsafe, 32), repr=False)


def state() -> State:
    found: State = current_app.extensions["wick"]
    return found
