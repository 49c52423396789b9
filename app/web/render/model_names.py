"""Display names of models: the same everywhere on a page."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from app.conversations.hub import Hub
from app.models.install.install import Origins
from app.models.model import Model
from app.models.store import ModelStore


def unique_titles(models: Collection[Model]) -> list[tuple[Model, str]]:
    """Models and their titles; two of one title are told apart by their names."""
    count = Counter(model.title for model in models)
    return [
        (model, model.title if count[model.title] == 1 else f"{model.title} ({model.name})")
        for model in models
    ]


class ModelNames:
    """Titles of models by name, also of those that have gone, read again when models change."""

    def __init__(self, store: ModelStore, origins: Origins, hub: Hub) -> None:
        self._store = store
        self._origins = origins
        self._hub = hub
        self.titles: Mapping[str, str] = {}
        self._read_at = -1

    async def load(self, names: Iterable[str | None]) -> None:
        """Read what is not known yet of these models."""
        wanted = {name for name in names if name}
        is_old = self._read_at != self._hub.models_version
        if is_old or not wanted <= self.titles.keys():
            at = self._hub.models_version
            self.titles = await asyncio.to_thread(self._read, wanted)
            self._read_at = at

    def title(self, name: str | None) -> str:
        """Return the title of a model, as far as it is known."""
        return self.titles.get(name or "", name or "")

    def _read(self, wanted: set[str]) -> dict[str, str]:
        titles = {model.name: title for model, title in unique_titles(self._store.models())}
        for name in {*wanted, *self.titles} - titles.keys():
            origin = self._origins.find(name)
            titles[name] = self.titles.get(name, name) if origin is None else origin.title
        return titles
