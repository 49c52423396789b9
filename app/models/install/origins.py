"""Where models came from, kept beside the shelf also when they are gone: to get them back."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from app.models.catalogue import CATALOGUE
from app.models.store import NAME

log = logging.getLogger(__name__)
FOLDER: Final = ".origins"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """text: as `parse_spec` takes it, empty for what came by hand; size: about so many bytes."""

    text: str
    title: str
    size: int


class Origins:
    """One small file for each name that a model of the shelf `root` ever had."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def find(self, name: str) -> ModelSource | None:
        """The model last installed as `name`, else the one that the catalogue has."""
        if not NAME.fullmatch(name):
            return None
        try:
            values = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            return ModelSource(str(values["text"]), str(values["title"]), int(values["size"]))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("Where the model %s came from cannot be read: %s.", name, error)
        known = CATALOGUE.get(name)
        return None if known is None else ModelSource(known.name, known.title, known.size)

    def keep(self, name: str, source: ModelSource) -> None:
        """That it cannot be kept harms nothing but a later wish, so it is only logged."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Not for everybody's eyes: an address may hold a password.
            handle, beside = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(source), file, ensure_ascii=False)
            Path(beside).replace(self._folder / f"{name}.json")
        except OSError as error:
            log.warning("Where the model %s came from could not be kept: %s.", name, error)
