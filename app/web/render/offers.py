"""Models to download: what each takes, whether it fits this machine, and which would be better."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from app.config import Settings
from app.models import memory
from app.models.catalogue import MAX_SMALL_WEIGHTS, CatalogueEntry, offers
from app.models.model import Model, format_bytes

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


def list_offers(taken: Collection[str], settings: Settings) -> list[Offer]:
    """All models to download but those of `taken` names, those that fit first."""
    found = [_offer(entry, settings) for entry in offers() if entry.name not in taken]
    return sorted(found, key=lambda offer: bool(offer.missing))


def _offer(entry: CatalogueEntry, settings: Settings) -> Offer:
    needed, budget = memory.entry_bytes(entry, settings), memory.budget(settings)
    context = memory.entry_context(entry, settings)
    facts = [
        f"{entry.parameters} parameters",
        f"{format_bytes(entry.size)} to download",
        f"{format_bytes(needed)} of memory for a chat of {context:,} tokens",
        entry.license,
    ]
    missing = ""
    if needed > budget:
        missing = (
            f"Needs {format_bytes(needed)} of memory; models may use {format_bytes(budget)} here"
        )
    return Offer(entry.name, entry.title, entry.about, entry.size, " · ".join(facts), missing)


def fits(entry: CatalogueEntry, settings: Settings) -> bool:
    return memory.entry_bytes(entry, settings) <= memory.budget(settings)


def fits_well(entry: CatalogueEntry, settings: Settings) -> bool:
    """Whether it leaves memory for other models, or is of the size that ordinary laptops run."""
    needed, budget = memory.entry_bytes(entry, settings), memory.budget(settings)
    return needed <= max(budget // 2, min(budget, LAPTOP_BYTES))


def find_better(
    models: Iterable[Model], coming: Collection[str], settings: Settings
) -> CatalogueEntry | None:
    """The best model that this machine could run well, while there are only very small ones.

    coming: names of the models that are on their way, or failed to come. None once something
    larger is here or among those.
    """
    if any(model.remote or model.parameters > MAX_SMALL_WEIGHTS * 1e9 for model in models):
        return None
    light = [
        entry
        for entry in offers()
        if entry.kind == "text" and entry.is_light and fits_well(entry, settings)
    ]
    best = max(light, key=lambda entry: entry.rank, default=None)
    small = {entry.name for entry in light if entry.is_small}
    if best is None or best.is_small or not set(coming) <= small:
        return None
    return best
