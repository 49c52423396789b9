"""Installed models and pulls, as the models page and its socket show it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.inference.model_state import WorkerStatus
from app.models import memory
from app.models.found import FoundModel
from app.models.install.pulls import Pull
from app.models.model import Model, format_bytes, format_parameters
from app.web.context import ServerContext
from app.web.render.cards import Card, Offer, build_remote_card, describe_state, list_offers
from app.web.render.voice import VoiceView, load_voice_view


@dataclass(frozen=True, slots=True)
class ModelsView:
    """cards: what is there; pulls: on their way, or failed to come; offers: what is to be had,
    and those of them that are on their way, whose names are `coming`; found: models of other
    programs on this computer; voice: voice to text.

    elsewhere: whether there are models to which what is written leaves this machine.
    """

    cards: tuple[Card, ...]
    pulls: tuple[Pull, ...]
    offers: tuple[Offer, ...]
    found: tuple[FoundModel, ...]
    voice: VoiceView
    coming: frozenset[str]
    elsewhere: bool


@dataclass(slots=True)
class Speeds:
    """Tokens a second of each model, read again only when an answer may have ended."""

    by_name: dict[str, float | None] = field(default_factory=dict)

    async def of(self, context: ServerContext, name: str) -> float | None:
        if name not in self.by_name:
            self.by_name[name] = await context.chats.speed(name)
        return self.by_name[name]


async def load_models_view(context: ServerContext, speeds: Speeds) -> ModelsView:
    models, damaged = await asyncio.to_thread(context.store.scan)
    default = await default_model(context)
    workers = {worker.name: worker for worker in context.pool.statuses()}
    cards = [
        build_card(
            context, model, workers.get(model.name), await speeds.of(context, model.name), default
        )
        for model in models
    ]
    cards += [build_damaged_card(name, sentence) for name, sentence in damaged]
    cards.sort(key=lambda card: card.name)
    pulls = context.pulls.all()
    coming = frozenset(pull.name for pull in pulls if not pull.error)
    taken = {card.name for card in cards} | {pull.name for pull in pulls if pull.error}
    offers = list_offers(taken, context.settings, context.pool.gpu_bytes)
    found = await asyncio.to_thread(context.found.available, models)
    return ModelsView(
        *(tuple(cards), tuple(pulls), tuple(offers), tuple(found)),
        *(await load_voice_view(context), coming, has_external(models)),
    )


def has_external(models: Iterable[Model]) -> bool:
    """Return whether what is written to one of them leaves this machine."""
    return any(model.remote and model.remote.external_hosts for model in models)


def build_card(
    here: ServerContext,
    model: Model,
    worker: WorkerStatus | None,
    speed: float | None,
    default: str,
) -> Card:
    if model.remote is not None:
        return build_remote_card(
            model,
            model.remote,
            here.pool.remotes.status(model.name),
            worker,
            here.settings,
            speed=speed,
            is_default=model.name == default,
        )
    context, budget = memory.context_length(model, here.settings), memory.budget(here.settings)
    needed, on_device = needed_bytes(here, model)
    on_gpu = f", and {format_bytes(on_device)} on the GPU" if on_device else ""
    facts = [
        ("Parameters", format_parameters(model.parameters)),
        ("Quantization", model.quantisation),
        ("Size on disk", format_bytes(model.size)),
        ("Engine", f"{model.engine}: {model.engine_choice.reason}"),
        ("Context", f"{context:,} of {model.context_length:,} tokens"),
        ("Memory", f"needs {format_bytes(needed)} of {format_bytes(budget)}{on_gpu}"),
        ("Speed", f"{speed:.0f} tokens per second" if speed else "not measured yet"),
    ]
    if worker is not None and worker.gpu is not None:
        facts.insert(4, ("GPU", f"{worker.gpu.line}. {worker.gpu.note}".removesuffix(". ")))
    if model.kind != "text":
        facts.insert(0, ("Kind", f"{model.kind} model, for search and not for chats"))
    if model.projector is not None and model.projector.hears:
        facts.append(("Sound", "hears it" if model.hears else "not on this engine"))
    if model.projector is not None and model.projector.sees:
        shown = "sees them" if model.sees else "not on this engine"
        size = format_bytes(model.projector.size)
        facts.append(("Pictures", f"{shown} (with a projector of {size})"))
    if model.license:
        facts.append(("Licence", model.license))
    progress = worker.load_progress if worker is not None else None
    percent = None if progress is None else int(100 * progress)
    return Card(
        name=model.name,
        title=model.title,
        facts=tuple(facts),
        state=worker.state if worker is not None else "idle",
        line=describe_state(worker),
        error=(worker.error or "") if worker is not None and worker.state == "failed" else "",
        progress=percent,
        is_default=model.name == default,
        is_tight=needed > budget,
        lacks_original=not model.files,
        can_chat=model.kind == "text",
        takes_projector=model.takes_projector,
    )


def needed_bytes(here: ServerContext, model: Model) -> tuple[int, int]:
    """Return the bytes of main memory and of GPUs that a loaded model takes."""
    if (plan := here.pool.best_plan(model)) is None:
        return memory.preferred_bytes(model, here.settings), 0
    return plan.offload.main_bytes, sum(plan.offload.device_bytes.values())


def build_damaged_card(name: str, sentence: str) -> Card:
    """A folder of the store that cannot be read; it can only be removed."""
    return Card(
        name=name,
        title=name,
        facts=(),
        state="damaged",
        line="Damaged",
        error=sentence,
        progress=None,
        is_default=False,
        is_tight=False,
    )


async def default_model(context: ServerContext) -> str:
    """The model that new chats begin with: the user's choice, else the one of the settings."""
    return await asyncio.to_thread(context.store.default) or context.settings.default_model
