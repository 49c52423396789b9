"""Hooks of schemathesis: requests name the installed model."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    """A name that was made up would be refused before anything else is looked at."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        return body | {"model": "tiny"}
    return body
