"""What the running server says of its models: `/models/report`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import httpx

REPORT_TIMEOUT = 5.0  # seconds; it is an answer from this very machine


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model now. line: its state in words; progress: 0 to 1; speed: tokens a second;
    memory: bytes set aside for it."""

    name: str
    state: str
    line: str
    progress: float | None
    error: str | None
    speed: float | None
    memory: int


def fetch_status(client: httpx.Client) -> dict[str, ModelStatus] | None:
    """By name; None when nothing that answers there can tell."""
    with contextlib.suppress(httpx.HTTPError, ValueError, TypeError, KeyError):
        response = client.get("/models/report", timeout=REPORT_TIMEOUT)
        if response.is_success:
            known = ModelStatus.__slots__
            return {
                values["name"]: ModelStatus(**{name: values[name] for name in known})
                for values in response.json()["models"]
            }
    return None
