"""Cards of models, local and remote, and offers of models to download: in words and numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.config import Settings
from app.inference.model_state import WorkerStatus
from app.inference.remote.servers import ServerStatus
from app.models import memory
from app.models.catalogue import MAX_SMALL_WEIGHTS, CatalogueEntry, offers
from app.models.install.progress import PullProgress
from app.models.model import Model, format_bytes
from app.models.upstream import RemoteModel


@dataclass(frozen=True, slots=True)
class Card:
    """One installed model. `facts`: names and values; `line`: its state in words.

    progress: percent while it is being loaded, if that is known; is_tight: it needs more memory
    than models may use; privacy_note: whether what is written to it stays here, of a remote model;
    lacks_original: only the copy for ctransformers is here, and a pull would bring the file itself;
    can_chat: new chats may begin with it.
    """

    name: str
    title: str
    facts: tuple[tuple[str, str], ...]
    state: str
    line: str
    error: str
    progress: int | None
    is_default: bool
    is_tight: bool
    is_remote: bool = False
    privacy_note: str = ""
    lacks_original: bool = False
    can_chat: bool = True
    takes_projector: bool = False

    @property
    def key(self) -> str:
        """Return the name as part of an element's id."""
        return element_key(self.name)


def describe_state(worker: WorkerStatus | None) -> str:
    """Return what a model is doing, in words."""
    match worker.state if worker is not None else "idle":
        case "loading":
            done = worker.load_progress if worker is not None else None
            detail = (worker.detail or "") if worker is not None else ""
            if done is not None:
                return f"Loading {100 * done:.0f} %"
            return "Loading" if detail.startswith("Loading") else detail or "Loading"
        case "ready" if worker is not None and worker.running:
            return f"Ready, writing {worker.running} answer{'s' if worker.running > 1 else ''}"
        case "ready":
            return "Ready"
        case "unloading":
            return "Unloading"
        case "failed":
            return "Failed to load"
        case _:
            return "Not loaded"


def describe_readiness(worker: WorkerStatus | None) -> str:
    """Return what choosing a model means, in a word or two."""
    match worker.state if worker is not None else "idle":
        case "loading" if worker is not None and worker.load_progress is not None:
            return f"loading {100 * worker.load_progress:.0f} %"
        case "loading":
            return "loading"
        case "ready":
            return "ready"
        case "failed":
            return "failed to load"
        case _:
            return "not loaded"


def describe_progress(progress: PullProgress) -> str:
    """Return how far a model is on its way, in a word or two."""
    if not progress.total:
        return progress.stage
    return f"{progress.stage} {100 * progress.done // progress.total} %"


def element_key(name: str) -> str:
    """A model's name as part of an element's id: names have no capital letters, ids no dots."""
    return name.replace(".", "D")


HEALTH: Final = {"ready": "ready", "down": "can't be reached", "unknown": "not checked yet"}
STATES: Final = {"ready": "ready", "down": "failed", "unknown": "idle"}
"""Of a model, as those of this machine have them."""


def build_remote_card(
    model: Model,
    remote: RemoteModel,
    servers: Sequence[ServerStatus],
    worker: WorkerStatus | None,
    settings: Settings,
    *,
    speed: float | None,
    is_default: bool,
) -> Card:
    context = f"{memory.context_length(model, settings):,} tokens"
    if not (remote.context or remote.found):
        context += " (assumed; the server does not say)"
    facts = [
        ("Servers" if len(remote.upstreams) > 1 else "Server", _hosts(remote)),
        ("Model ID", _join_words(upstream.model for upstream in remote.upstreams)),
        ("Context", context),
        ("Concurrent requests", f"{sum(upstream.parallel for upstream in remote.upstreams)}"),
        ("Speed", f"{speed:.0f} tokens per second" if speed else "not measured yet"),
    ]
    if keys := _join_words(upstream.key_env for upstream in remote.upstreams if upstream.key_env):
        facts.append(("API key in", keys))
    return Card(
        name=model.name,
        title=model.title,
        facts=tuple(facts),
        state=STATES[describe_health(servers)],
        line=line(servers, worker),
        error=" ".join(text for s in servers if (text := s.trouble or s.note)),
        progress=None,
        is_default=is_default,
        is_tight=False,
        is_remote=True,
        privacy_note=privacy_note(remote),
    )


def describe_health(servers: Sequence[ServerStatus]) -> str:
    """Sum up all servers: ready when one is, down when all are, else unknown."""
    each = {server.health for server in servers}
    if "ready" in each:
        return "ready"
    return "down" if each == {"down"} else "unknown"


def describe_remote_readiness(remote: RemoteModel, servers: Sequence[ServerStatus]) -> str:
    """Say for the picker what choosing the model means."""
    return HEALTH[describe_health(servers)] + describe_location(remote)


def describe_location(remote: RemoteModel) -> str:
    """Say for lists of models where text is sent; empty when it stays here."""
    hosts = remote.external_hosts
    if not hosts:
        return ""
    more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
    return f" · sent to {hosts[0]}{more}"


def privacy_note(remote: RemoteModel) -> str:
    """Return whether what is written stays on this machine."""
    hosts = remote.external_hosts
    if not hosts:
        return "What you write stays on this machine, on another server."
    open_hosts = [u.host for u in remote.upstreams if not u.is_local and u.url.startswith("http:")]
    unprotected = ", unencrypted" if open_hosts else ""
    return f"What you write is sent to {' and '.join(hosts)}{unprotected}."


def line(servers: Sequence[ServerStatus], worker: WorkerStatus | None) -> str:
    match describe_health(servers):
        case "ready":
            away = sum(server.health == "down" for server in servers)
            missing = f", {away} of {len(servers)} servers unreachable" if away else ""
            running = worker.running if worker else 0
            writing = f", writing {running} answer{'s' if running > 1 else ''}" if running else ""
            return f"Ready{missing}{writing}"
        case "down":
            since = min(server.since for server in servers if server.since)
            return f"Can't be reached since {since:%H:%M}"
        case _:
            return "Not checked yet"


def _hosts(remote: RemoteModel) -> str:
    return ", ".join(upstream.host for upstream in remote.upstreams)


def _join_words(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


# Models to download: what each takes, whether it fits this machine, and which would be better.

LAPTOP_BYTES: Final = 5_000_000_000
"""Bytes of memory that a model may take although they are most of what there is."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model of the catalogue on this machine. facts: its numbers, in words; missing: what the
    machine lacks for it, empty where it fits."""

    name: str
    title: str
    about: str
    size: int
    facts: str
    missing: str


def list_offers(taken: Collection[str], settings: Settings, gpu_bytes: int = 0) -> list[Offer]:
    """List the models to download but those of `taken` names, those that fit first.

    gpu_bytes: of memory that models may have beside that of the CPU.
    """
    found = [_offer(entry, settings, gpu_bytes) for entry in offers() if entry.name not in taken]
    return sorted(found, key=lambda offer: bool(offer.missing))


def _offer(entry: CatalogueEntry, settings: Settings, gpu_bytes: int) -> Offer:
    needed, budget = memory.entry_bytes(entry, settings), memory.budget(settings) + gpu_bytes
    context = memory.entry_context(entry, settings)
    read = "a chat" if entry.kind == "text" else "texts"
    facts = [
        f"{entry.parameters} parameters",
        f"{format_bytes(entry.size)} to download",
        f"{format_bytes(needed)} of memory for {read} of {context:,} tokens",
        entry.license,
    ]
    missing = ""
    if needed > budget:
        missing = (
            f"Needs {format_bytes(needed)} of memory; models may use {format_bytes(budget)} here"
        )
    return Offer(entry.name, entry.title, entry.about, entry.size, " · ".join(facts), missing)


def fits(entry: CatalogueEntry, settings: Settings, gpu_bytes: int = 0) -> bool:
    return memory.entry_bytes(entry, settings) <= memory.budget(settings) + gpu_bytes


def fits_well(entry: CatalogueEntry, settings: Settings, gpu_bytes: int = 0) -> bool:
    """Tell whether it leaves memory for others, or is of the size that ordinary laptops run."""
    needed, budget = memory.entry_bytes(entry, settings), memory.budget(settings) + gpu_bytes
    return needed <= max(budget // 2, min(budget, LAPTOP_BYTES))


def find_better(
    models: Iterable[Model], coming: Collection[str], settings: Settings, gpu_bytes: int = 0
) -> CatalogueEntry | None:
    """The best model that this machine could run well, while there are only very small ones.

    coming: names of the models that are on their way, or failed to come; gpu_bytes: see
    `list_offers`. None once something larger is here or among those.
    """
    if any(model.remote or model.parameters > MAX_SMALL_WEIGHTS * 1e9 for model in models):
        return None
    light = [
        entry
        for entry in offers()
        if entry.kind == "text" and entry.is_light and fits_well(entry, settings, gpu_bytes)
    ]
    best = max(light, key=lambda entry: entry.rank, default=None)
    small = {entry.name for entry in light if entry.is_small}
    if best is None or best.is_small or not set(coming) <= small:
        return None
    return best
