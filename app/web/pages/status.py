"""Status of the machine for its owner, and `/healthz`."""

from __future__ import annotations

import asyncio
import shutil
import time

from quart import Blueprint, Response

import app
from app.config import Settings
from app.inference.model_state import WorkerStatus
from app.models.devices import Device, gpus
from app.web.context import server_context
from app.web.render import cards
from app.web.render.dates import time_ago
from app.web.render.frame import render_page
from app.web.security.auth import owner_required, public

# For programs that want to know whether Wick serves.


health_blueprint = Blueprint("health", __name__)


@health_blueprint.get("/healthz")
@health_blueprint.get("/health")
@public
async def healthz() -> tuple[dict[str, str], int]:
    if server_context().is_closing:
        return {"status": "closing", "version": app.__version__}, 503
    return {"status": "ok", "version": app.__version__}, 200


# What the machine is doing, for its owner: models, runners, queues. Nobody's words.


blueprint = Blueprint("status", __name__, url_prefix="/status")


@blueprint.get("")
@owner_required
async def page() -> Response:
    server_context().pool.devices.begin()
    return await render_page("status.html", figures=await figures())


@blueprint.get("/figures")
@owner_required
async def figures() -> str:
    """The part that the page fetches again and again."""
    context = server_context()
    workers = context.pool.statuses()
    memory = await asyncio.to_thread(_memory, workers)
    return context.fragments.render(
        "_figures.html",
        workers=workers,
        states={worker.name: _state(worker) for worker in workers},
        memory=memory,
        threads=_threads(context.settings),
        gpus=_gpus(),
        gpu_problem=context.pool.devices.current.problem.rstrip("."),
        is_known=context.pool.devices.is_known,
        backups=context.backups,
        newest_backup=await _newest_backup(),
        disks=await asyncio.to_thread(_disks, context.settings),
        keep_free=context.settings.keep_free_bytes,
    )


@blueprint.post("/devices")
@owner_required
async def list_devices() -> str:
    """List the GPUs again, and show what the machine is doing."""
    await server_context().pool.devices.refresh()
    return await figures()


def _disks(settings: Settings) -> list[tuple[str, int, bool]]:
    """List the disks of chats and of models: what is on it, bytes free, and whether that is less
    than stays free."""
    folders = {"Chats": settings.data_dir, "Models": settings.models_dir}
    found = [(what, path) for what, path in folders.items() if path.is_dir()]
    if len({path.stat().st_dev for _, path in found}) == 1:
        found = [(" and ".join(what for what, _ in found).capitalize(), found[0][1])]
    sizes = [(what, shutil.disk_usage(path).free) for what, path in found]
    return [(what, free, free < settings.keep_free_bytes) for what, free in sizes]


async def _newest_backup() -> str:
    """Say when the newest backup was made; empty where there is none."""
    newest = await asyncio.to_thread(server_context().backups.newest)
    return "" if newest is None else time_ago(newest, time.time())


def _gpus() -> list[tuple[Device, int]]:
    """Pair the GPUs with the bytes that models hold on each."""
    pool = server_context().pool
    return [(device, pool.held_on(device.name)) for device in gpus(pool.devices.devices)]


def _state(worker: WorkerStatus) -> str:
    """Return the state: of a remote model that of its servers, since its worker always runs."""
    servers = server_context().pool.remotes.status(worker.name)
    return cards.HEALTH[cards.describe_health(servers)] if servers else worker.state


def _threads(settings: Settings) -> str:
    return f"{settings.threads} CPU thread{'s' if settings.threads != 1 else ''}"


def _memory(workers: list[WorkerStatus]) -> dict[str, int]:
    """Resident memory of each runner, in bytes, by model name."""
    import psutil  # here and not above: few look at this page, and it takes a while to load

    sizes = {}
    for worker in workers:
        if worker.pid is not None:
            try:
                sizes[worker.name] = psutil.Process(worker.pid).memory_info().rss
            except psutil.Error:  # it ended meanwhile
                continue
    return sizes
