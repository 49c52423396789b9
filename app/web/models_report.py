"""The models page in JSON, for the commands of `wick models` that ask the running server."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import Blueprint

from app.models import memory
from app.web import remote_facts
from app.web.shelf_facts import state_line
from app.web.shelf_view import Speeds
from app.web.state import state

blueprint = Blueprint("models_report", __name__)


@blueprint.get("/models/report")
async def report() -> dict[str, Any]:
    """Of each model on the shelf: its state, also in words; `progress` of a load from 0 to 1;
    `speed` in tokens a second; `memory` set aside for it now, in bytes, as is `budget`."""
    here = state()
    models = await asyncio.to_thread(here.shelf.models)
    workers = {worker.name: worker for worker in here.pool.statuses()}
    speeds, found = Speeds(), []
    for model in models:
        worker = workers.get(model.name)
        state_now: str = "idle" if worker is None else worker.state
        line = state_line(worker)
        if model.remote is not None:
            servers = here.pool.remotes.status(model.name)
            state_now = remote_facts.STATES[remote_facts.health(servers)]
            line = remote_facts.line(servers, worker)
        found.append(
            {
                "name": model.name,
                "title": model.title,
                "state": state_now,
                "line": line,
                "progress": None if worker is None else worker.load_progress,
                "error": None if worker is None else worker.error,
                "speed": await speeds.of(here, model.name),
                "memory": 0 if worker is None else worker.memory,
            }
        )
    return {"models": found, "budget": memory.budget(here.settings)}
