"""Rows of the model picker: models that can be chosen or downloaded, and what speaks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from app.models import memory
from app.models.catalogue import CatalogueEntry, offers
from app.models.model import Model, format_bytes
from app.web.context import ServerContext
from app.web.render.cards import describe_location, fits, fits_well
from app.web.render.chat import picker_options
from app.web.render.messages import ModelOption
from app.web.render.models import Speeds, default_model, needed_bytes
from app.web.security.identity import is_owner

MAX_OFFERS: Final = 4
"""Models to download that the picker names; the models page has all."""


@dataclass(frozen=True, slots=True)
class PickerRow:
    """One row. state: what choosing it means, in a word or two; facts: size, speed and the like;
    is_broken: it cannot answer now; can_be_default: this user may have new chats begin with it."""

    name: str
    title: str
    state: str
    facts: tuple[str, ...]
    is_default: bool = False
    is_downloadable: bool = False
    is_broken: bool = False
    can_be_default: bool = False


@dataclass(frozen=True, slots=True)
class ChoiceGroup:
    """Rows under one heading."""

    title: str
    choices: tuple[PickerRow, ...]


async def model_choices(context: ServerContext, chosen: str) -> tuple[ChoiceGroup, ...]:
    """List what can be chosen, what is on its way, and some models that would fit this machine."""
    options, _ = await picker_options(context, None, chosen)
    models = {model.name: model for model in await asyncio.to_thread(context.store.models)}
    default, speeds = await default_model(context), Speeds()
    here, elsewhere, coming, missing = (list[PickerRow]() for _ in range(4))
    for option in options:
        model = models.get(option.name)
        if option.state == "gone":
            missing.append(
                PickerRow(option.name, option.title, "not installed", (), is_broken=True)
            )
        elif model is None and option.state == "here":
            coming.append(PickerRow(option.name, option.title, option.readiness, ()))
        elif model is not None:
            row = await _installed(context, model, option, speeds, is_default=model.name == default)
            (elsewhere if model.remote else here).append(row)
    there = {option.name for option in options if option.state != "to get"}
    return (
        ChoiceGroup("On this computer", tuple(here)),
        ChoiceGroup("On other servers", tuple(elsewhere)),
        ChoiceGroup("Downloading", tuple(coming)),
        ChoiceGroup("Not here", tuple(missing)),
        ChoiceGroup("Available to download", tuple(_offers(context, options, there, chosen))),
    )


async def _installed(
    context: ServerContext, model: Model, option: ModelOption, speeds: Speeds, *, is_default: bool
) -> PickerRow:
    speed = await speeds.of(context, model.name)
    quick = (f"{speed:.0f} tokens/s",) if speed else ()
    if model.remote is not None:
        location = describe_location(model.remote).removeprefix(" · ")
        facts = (location or "stays on this computer", *quick)
    else:
        needed = needed_bytes(context, model)[0]
        is_tight = needed > memory.budget(context.settings)
        room = f"needs {format_bytes(needed)} of memory" if is_tight else "fits"
        facts = (format_bytes(model.size), *quick, room)
    is_broken = option.readiness in {"failed to load", "can't be reached"}
    return PickerRow(
        *(model.name, option.title, option.readiness, facts, is_default),
        is_broken=is_broken,
        can_be_default=is_owner() and not is_default,
    )


def _offers(
    context: ServerContext, options: list[ModelOption], there: Collection[str], chosen: str
) -> list[PickerRow]:
    """List the best models that fit, smallest first, and the chosen one if it can be downloaded."""
    if not is_owner():
        return []
    fitting = [
        entry
        for entry in offers()
        if entry.kind == "text" and entry.name not in there and fits(entry, context.settings)
    ]
    quick = [entry for entry in fitting if entry.is_light and fits_well(entry, context.settings)]
    best = sorted(quick or fitting, key=lambda entry: -entry.rank)[:MAX_OFFERS]
    wanted = {option.name for option in options if option.state == "to get"} & {chosen}
    return [
        *(_known_offer(context, name) for name in wanted),
        *(_offer(entry) for entry in fitting if entry in best and entry.name not in wanted),
    ]


def _offer(entry: CatalogueEntry) -> PickerRow:
    size = format_bytes(entry.size)
    return PickerRow(entry.name, entry.title, size, (entry.about,), is_downloadable=True)


def _known_offer(context: ServerContext, name: str) -> PickerRow:
    """Offer the chosen model, which is not here; it may be none of the catalogue."""
    source = context.pulls.origins.find(name)
    title, size = (source.title, format_bytes(source.size)) if source else (name, "")
    return PickerRow(name, title, size, ("Chosen, but not installed",), is_downloadable=True)
