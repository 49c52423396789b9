"""What a server imports, for the process from which servers are forked (`tests/forked.py`)."""

from __future__ import annotations

import gc
from importlib import import_module

gc.disable()
for name in (
    "hypercorn.asyncio",
    "app.cli.connection_limits",
    "app.cli.hypercorn_patches",
    "app.cli.private_server",
    "app.cli.chat",
    "app.cli.serve",
    "app.server",
    "tests.forked",
):
    import_module(name)
gc.freeze()
gc.enable()
