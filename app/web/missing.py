"""Models that are not on this machine: those to be had, and one that a chat was with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.models import memory
from app.models.catalogue import CATALOGUE
from app.web.identity import is_owner
from app.web.state import State
from app.web.views import Missing, Option


def to_be_had(here: State, there: Collection[str], wanted: str) -> list[Option]:
    """What the person could fetch and would fit the memory; and `wanted`, whatever it is.

    there: names that are on the shelf or on their way; when none is, the page offers some itself.
    """
    room = memory.budget(here.settings) - memory.OVERHEAD
    options = [
        Option(source.name, f"{source.title} · needs download", "to get")
        for source in CATALOGUE.values()
        if there and is_owner() and source.name not in there and source.size <= room
    ]
    if not wanted or wanted in {*there, *(option.name for option in options)}:
        return options
    origin = here.pulls.origins.find(wanted)
    title = wanted if origin is None else origin.title
    if origin is not None and origin.text:
        return [*options, Option(wanted, f"{title} · needs download", "to get")]
    return [*options, Option(wanted, f"{title} · not on this machine", "gone")]


def missing(here: State, name: str, ready: Sequence[Option], default: str) -> Missing | None:
    """None when it is on its way, or failed to come, which is said already."""
    if here.pulls.get(name) is not None:
        return None
    origin = here.pulls.origins.find(name)
    usual = next((option for option in ready if option.name == default), None)
    return Missing(
        name,
        title=name if origin is None else origin.title,
        size=origin.size if origin is not None and origin.text else 0,
        instead=usual or next(iter(ready), None),
    )
