"""The models page in JSON, for the commands of `wick models` that ask the running server."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import Blueprint

from app.models import memory
from app.web import remote_facts
from app.web.shelf_facts import describe_state
from app.web.shelf_view import Speeds
from app.web.state import server_context

report_blueprint = Blueprint("models_report", __name__)


@report_blueprint.get("/models/report")
async def report() -> dict[str, Any]:
    """Of each model on the shelf: its state, also in words; `progress` of a load from 0 to 1;
    `speed` in tokens a second; `memory` set aside for it now, in bytes, as is `budget`."""
    context = server_context()
    models = await asyncio.to_thread(context.store.models)
    workers = {worker.name: worker for worker in context.pool.statuses()}
    speeds, found = Speeds(), []
    for model in models:
        worker = workers.get(model.name)
        state_now: str = "idle" if worker is None else worker.state
        line = describe_state(worker)
        if model.remote is not None:
            servers = context.pool.remotes.status(model.name)
            state_now = remote_facts.STATES[remote_facts.describe_health(servers)]
            line = remote_facts.line(servers, worker)
        found.append(
            {
                "name": model.name,
                "title": model.title,
                "state": state_now,
                "line": line,
                "progress": None if worker is None else worker.load_progress,
                "error": None if worker is None else worker.error,
                "speed": await speeds.of(context, model.name),
                "memory": 0 if worker is None else worker.memory,
            }
        )
    return {"models": found, "budget": memory.budget(context.settings)}
