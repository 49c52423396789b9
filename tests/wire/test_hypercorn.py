"""The patches of Hypercorn are for one version of it."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

from app.cli.hypercorn_patches import HYPERCORN_VERSION

APP = Path(__file__).parents[2] / "app"


def test_the_patched_version_is_the_installed_one() -> None:
    """Another one: read what `app/cli/hypercorn_patches.py` replaces, anew, then change it here."""
    assert version("hypercorn") == HYPERCORN_VERSION == "0.18.0"
    assert version("wsproto") == "1.3.2"


def test_patches_are_in_one_module() -> None:
    inner = ("hypercorn.protocol", "hypercorn.asyncio.", "hypercorn.events")
    reaching = {
        path.name
        for path in APP.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
        if name.startswith(inner)
    }
    assert reaching == {"hypercorn_patches.py"}
