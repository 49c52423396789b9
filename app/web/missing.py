"""Models that are not on this machine: those to be had, and one that a chat was with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.models import memory
from app.models.catalogue import CATALOGUE
from app.web.identity import is_owner
from app.web.state import ServerContext
from app.web.views import ModelOption, UnavailableModel


def downloadable(context: ServerContext, there: Collection[str], wanted: str) -> list[ModelOption]:
    """What the person could fetch and would fit the memory; and `wanted`, whatever it is.

    there: names that are on the shelf or on their way; when none is, the page offers some itself.
    """
    room = memory.budget(context.settings) - memory.OVERHEAD_BYTES
    options = [
        ModelOption(source.name, f"{source.title} · needs download", "to get")
        for source in CATALOGUE.values()
        if there and is_owner() and source.name not in there and source.size <= room
    ]
    if not wanted or wanted in {*there, *(option.name for option in options)}:
        return options
    origin = context.pulls.origins.find(wanted)
    title = wanted if origin is None else origin.title
    if origin is not None and origin.text:
        return [*options, ModelOption(wanted, f"{title} · needs download", "to get")]
    return [*options, ModelOption(wanted, f"{title} · not on this machine", "gone")]


def find_unavailable(
    context: ServerContext, name: str, ready: Sequence[ModelOption], default: str
) -> UnavailableModel | None:
    """None when it is on its way, or failed to come, which is said already."""
    if context.pulls.get(name) is not None:
        return None
    source = context.pulls.origins.find(name)
    usual = next((option for option in ready if option.name == default), None)
    return UnavailableModel(
        name,
        title=name if source is None else source.title,
        size=source.size if source is not None and source.text else 0,
        instead=usual or next(iter(ready), None),
    )
