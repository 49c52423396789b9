"""The catalogue: models that Wick can pull by name, from `catalogue.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from app.errors import PullError
from app.models.engines import ENGINES, Engine, available_engines
from app.models.model import ModelKind
from app.models.parameters import Sampling
from app.models.sources import HubRepoSpec, PypiSpec, Spec, parse_spec

MAX_LIGHT_WEIGHTS: Final = 4.6
"""Billions of weights for each token, with which a processor makes some words a second."""
MAX_SMALL_WEIGHTS: Final = 0.5
"""Billions of weights of models that are here to have an answer at all."""
FILE: Final = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Model to offer. about: what it is good for; size: bytes to download, perhaps rounded; source:
    `spec` as a user would write it; sampling: what its authors recommend.

    context, kv_bytes: tokens it was trained for, and bytes that one of them takes; rank: how good
    its answers are, from 0 to 100; engines: those that run it; active: billions of weights that
    each token passes through, None for all; is_retired: no longer offered; sees: whether it takes
    pictures.
    """

    name: str
    title: str
    about: str
    parameters: str
    license: str
    size: int
    source: str
    spec: Spec
    sampling: Sampling
    context: int
    kv_bytes: int
    rank: int
    kind: ModelKind = "text"
    engines: tuple[Engine, ...] = ENGINES
    active: float | None = None
    is_retired: bool = False
    sees: bool = False

    @property
    def quantisation(self) -> str:
        """Name the quantization of its source; empty where that is left to the hub."""
        return self.spec.quantisation or "" if isinstance(self.spec, HubRepoSpec) else ""

    @property
    def billions(self) -> float:
        """Billions of weights."""
        number, unit = self.parameters.split()
        return float(number) / 1000 if unit == "M" else float(number)

    @property
    def is_small(self) -> bool:
        """Tell whether a larger one would be worth a download."""
        return self.billions <= MAX_SMALL_WEIGHTS

    @property
    def is_light(self) -> bool:
        """Tell whether it is quick enough to talk with where there is no graphics card."""
        return (self.active or self.billions) <= MAX_LIGHT_WEIGHTS


def offers() -> list[CatalogueEntry]:
    """The entries that can be downloaded and run here, smallest first."""
    usable = set(available_engines())
    return [
        entry for entry in CATALOGUE.values() if usable & {*entry.engines} and not entry.is_retired
    ]


def read_catalogue(text: str) -> dict[str, CatalogueEntry]:
    """Read the entries by name, in the file's order. Raises ValueError, KeyError or TypeError."""
    entries = [_entry(values) for values in tomllib.loads(text)["model"]]
    found = {entry.name: entry for entry in entries}
    if len(found) != len(entries):
        raise ValueError("two models of the catalogue have one name")
    return found


def find(name: str) -> CatalogueEntry:
    """Look up a catalogue entry. Raises PullError, which lists the names there are."""
    try:
        return CATALOGUE[name]
    except KeyError:
        raise PullError(
            f"The catalogue has no model “{name}”. It has "
            f"{', '.join(entry.name for entry in offers())}."
        ) from None


def _entry(values: dict[str, Any]) -> CatalogueEntry:
    sampling = Sampling(**values.pop("sampling", {}))
    spec = parse_spec(values["source"])
    if isinstance(spec, PypiSpec):
        wheel = values.pop("wheel_sha256", None)
        spec = replace(spec, wheel_sha256=wheel, wheel_size=values["size"])
    values["source"] = values["source"].partition("#")[0]
    values["engines"] = tuple(values.get("engines", ENGINES))
    return CatalogueEntry(spec=spec, sampling=sampling, **values)


CATALOGUE: Final[dict[str, CatalogueEntry]] = read_catalogue(FILE.read_text(encoding="utf-8"))


def kind_of(name: str) -> ModelKind:
    """Return the kind of a model that is on its way; one that is not of the catalogue may chat."""
    entry = CATALOGUE.get(name)
    return "text" if entry is None else entry.kind
