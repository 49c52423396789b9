"""What a server imports, for the process from which servers are forked (`tests/forked.py`)."""

from __future__ import annotations

import gc
from importlib import import_module

from app.config import asset_dir
from app.web.render.fragments import Fragments


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
load_templates()
gc.freeze()
gc.enable()
