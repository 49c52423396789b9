"""The models page, its actions, and its state in JSON for the commands."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from quart import Blueprint, Response, request

from app.config import KEY_PREFIX
from app.errors import ModelError, ModelFileError, ModelNotFound, PullRefused
from app.inference.remote.health import check
from app.models import memory
from app.models.catalogue import CATALOGUE
from app.models.model import Model
from app.models.sources import LocalSpec, Spec, WebSpec, parse_spec
from app.models.store import NAME
from app.models.upstream import PARALLEL, Upstream
from app.net import leads_here
from app.web.context import server_context, services_of
from app.web.render import cards
from app.web.render.cards import describe_state
from app.web.render.frame import render_page
from app.web.render.models import Speeds, load_models_view
from app.web.render.picker import model_choices
from app.web.render.warning import warning
from app.web.security.auth import owner_required
from app.web.security.identity import current_user

# The models page in JSON, for the commands of `wick models` that ask the running server.


report_blueprint = Blueprint("models_report", __name__)


@report_blueprint.get("/models/report")
async def report() -> dict[str, Any]:
    """Report each model in the store: its state, also in words; `progress` of a load from 0 to 1;
    the `engine` that runs it; `gpu`: layers there, in words; `speed` in tokens per second; `memory`
    set aside for it now, in bytes, as is `budget`."""
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
            state_now = cards.STATES[cards.describe_health(servers)]
            line = cards.line(servers, worker)
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
                "engine": model.engine,
                "sees": model.sees,
                "gpu": gpu.line if (gpu := worker and worker.gpu) else "",
            }
        )
    return {"models": found, "budget": memory.budget(context.settings)}


# The models page, and what users do there with the model store.


blueprint = Blueprint("models", __name__)
DONE = 204


@blueprint.get("/models")
async def page() -> Response:
    context = server_context()
    version = context.hub.version
    view = await load_models_view(context, Speeds())
    fragments = context.fragments
    return await render_page(
        "models.html",
        version=version,
        cards=fragments.cards(view.cards),
        pulls=fragments.pull_list(view.pulls),
        offers=fragments.offers(view.offers, view.coming),
        found=fragments.found(view.found, view.coming),
        voice=fragments.voice(view.voice),
        full=fragments.full(warning(context)),
        lead=fragments.intro(elsewhere=view.elsewhere),
        remote=fragments.remote_fields(),
        source=fragments.source_fields(takes_paths=not context.settings.has_accounts),
    )


@blueprint.get("/models/choices")
async def choices() -> str:
    """Render the list that the model picker opens; `model`: the chosen one."""
    context = server_context()
    chosen = request.args.get("model", "")
    groups = await model_choices(context, chosen if NAME.fullmatch(chosen) else "")
    rows = [row for group in groups for row in group.choices]
    return context.fragments.render(
        "_model_choices.html",
        groups=groups,
        chosen=chosen,
        chat_id=given
        if re.fullmatch("[0-9a-f]{16}", given := request.args.get("chat", ""))
        else "",
        suggested_default=next(
            (row for row in rows if row.can_be_default and row.name == chosen), None
        ),
    )


@blueprint.post("/models/<name>/load")
@owner_required
async def load(name: str) -> Response:
    """Begin to load it; how far that is comes over the sockets."""
    await _existing(name)
    await server_context().pool.try_gpu_again(name)
    server_context().pool.load(name)
    return Response(status=DONE)


@blueprint.post("/models/<name>/unload")
@owner_required
async def unload(name: str) -> Response:
    """Unload it. Raises ModelBusy while it answers."""
    await _existing(name)
    await server_context().pool.unload(name)
    return Response(status=DONE)


@blueprint.post("/models/<name>/default")
@owner_required
async def make_default(name: str) -> Response:
    context = server_context()
    await asyncio.to_thread(context.store.set_default, name)
    context.hub.models_changed()
    return Response(status=DONE)


@blueprint.post("/models/<name>/arrived")
@owner_required
async def pull_status(name: str) -> Response:
    """Show a model that a command has installed, or given a projector, to whoever looks."""
    await _existing(name)
    server_context().pool.settings_changed(name)
    server_context().hub.models_changed()
    return Response(status=DONE)


@blueprint.get("/models/<name>/remove")
@owner_required
async def ask_to_remove(name: str) -> str:
    """Ask once more. A damaged model has no title and no size."""
    model: Model | None = None
    with contextlib.suppress(ModelFileError):
        model = await _existing(name)
    return server_context().fragments.render("_remove_model.html", name=name, model=model)


@blueprint.delete("/models/<name>")
@owner_required
async def remove(name: str) -> Response:
    """Remove a model; its chats stay as they are. Raises ModelBusy while it answers."""
    context = server_context()
    await asyncio.to_thread(context.store.folder, name)  # it may be damaged
    await context.pool.delete_model(name)
    await asyncio.to_thread(context.store.remove, name)
    context.pool.settings_changed(name)  # somebody may have had it loaded once more in between
    context.hub.models_changed()
    return Response(status=DONE)


@blueprint.post("/models/remote")
@owner_required
async def add_remote() -> str:
    """A model that another server holds, or one more server for one; the fields are empty then."""
    here = server_context()
    form = await request.form
    name, upstream, context = parse_remote(form)
    sees = "sees" in form or None
    await asyncio.to_thread(here.store.add_remote, name, [upstream], context=context, sees=sees)
    here.pool.remotes.check_now()
    here.hub.models_changed()
    found = await check(upstream)
    notice = f"{name} is added, but not ready: {found.problem}" if found.problem else ""
    return here.fragments.remote_fields(oob=True) + here.fragments.notice(notice)


def parse_remote(form: Mapping[str, str]) -> tuple[str, Upstream, int | None]:
    """Parse what the form says: name, server and context size. Raises ModelError.

    Keys are taken only from variables that are meant for it, so that nobody who is not at this
    machine can have any other sent anywhere.
    """
    values = {name: text.strip() for name, text in form.items()}
    key_env = values.get("key_env", "")
    if key_env and not key_env.startswith(KEY_PREFIX):
        raise ModelError(f"The name of the environment variable must begin with {KEY_PREFIX}.")
    upstream = Upstream(
        values.get("url", ""),
        values.get("model", ""),
        key_env,
        _render_page(values.get("parallel", ""), "The number of concurrent requests") or PARALLEL,
    )
    context = _render_page(values.get("context", ""), "The context size")
    return values.get("name", "").lower(), upstream, context


def _render_page(text: str, what: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal():
        raise ModelError(f"{what} must be a whole number.")
    return int(text)


@blueprint.post("/models/pull")
@owner_required
async def pull_from() -> str:
    """Begin to bring a model from any source; the fields are empty again then."""
    context = server_context()
    form = await request.form
    source, name = form.get("source", "").strip(), form.get("name", "").strip().lower()
    if source not in CATALOGUE and context.settings.has_accounts:
        _refuse_own(parse_spec(source, check_disk=False))
    started = context.pulls.start(source, name or None)
    fields = context.fragments.source_fields(
        takes_paths=not context.settings.has_accounts, oob=True
    )
    return fields + context.fragments.download_started(started.title)


def _refuse_own(spec: Spec) -> None:
    """A person at another machine reaches neither this one's files nor what it serves to itself."""
    if isinstance(spec, LocalSpec):
        raise PullRefused("Local files can only be imported on the server.")
    if isinstance(spec, WebSpec) and leads_here(urlsplit(spec.url).hostname):
        raise PullRefused("Addresses on this machine can only be used on the server.")


@blueprint.post("/models/found/<key>")
@owner_required
async def use_found(key: str) -> Response:
    """Begin to use a model that another program has on this computer."""
    context = server_context()
    context.pulls.link(await asyncio.to_thread(context.found.get, key))
    return Response(status=DONE)


@blueprint.post("/models/<name>/pull")
@owner_required
async def pull(name: str) -> Response:
    """Go on with a pull that broke off, or bring what is known by this name."""
    server_context().pulls.pull_again(name)
    return Response(status=DONE)


@blueprint.post("/models/<name>/cancel")
@owner_required
async def cancel(name: str) -> Response:
    server_context().pulls.cancel(name)
    return Response(status=DONE)


@blueprint.post("/models/<name>/dismiss")
@owner_required
async def dismiss(name: str) -> Response:
    server_context().pulls.dismiss(name)
    return Response(status=DONE)


@blueprint.post("/chats/<chat_id>/model")
async def choose(chat_id: str) -> Response:
    """The model of a chat's next answers. One that is not here yet may come until it is asked."""
    name = (await request.form).get("model", "")
    if not NAME.fullmatch(name):
        raise ModelNotFound(f"“{name[:80]}” is not a valid model name.")
    context, user_id = server_context(), current_user()
    with contextlib.suppress(ModelNotFound):
        context.answers.resolve_settings(name)
    await services_of(chat_id).chats.choose_model(user_id, chat_id, name)
    context.hub.model_chosen(user_id, chat_id, name)
    return Response(status=DONE)


async def _existing(name: str) -> Model:
    return await asyncio.to_thread(server_context().store.get, name)
