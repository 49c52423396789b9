"""What a server imports, for the process from which servers are forked (`tests/forked.py`).

Their passwords are hashed quickly: as they should be, one takes a quarter of a second.
"""

from __future__ import annotations

import gc
from functools import partial
from importlib import import_module

import argon2

from app.config import asset_dir
from app.web.render.fragments import Fragments
from tests.certificates import share_certificates


def load_templates() -> None:
    """Compile them as a server does when it shows a page for the first time."""
    environment = Fragments(asset_dir("templates"), asset_dir("static"))._environment
    for path in asset_dir("templates").glob("*.html"):
        environment.get_template(path.name)


gc.disable()
for name in (
    "hypercorn.asyncio",
    "app.cli.connection_limits",
    "app.cli.hypercorn_patches",
    "app.cli.private_server",
    "app.cli.accounts",
    "app.cli.chat",
    "app.cli.models",
    "app.cli.serve",
    "app.server",
    "tests.forked",
):
    import_module(name)
argon2.PasswordHasher = partial(argon2.PasswordHasher, 1, 8, 1)  # type: ignore[assignment, misc]
share_certificates()
load_templates()
gc.freeze()
gc.enable()
