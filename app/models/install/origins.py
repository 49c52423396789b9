"""Origins of models, kept in the store even after a model is removed, so that it can come back."""

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
    """Source of one model: `text` as `parse_spec` takes it, empty for local files; `size` about in
    bytes.
    """

    text: str
    title: str
    size: int


class Origins:
    """Store of origins: a small file for each name that a model in the store `root` ever had."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def find(self, name: str) -> ModelSource | None:
        """Find the source of the model last installed as `name`, else the catalogue's."""
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
        """Save a source. A failure is only logged: it costs no more than a download by name."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Not for everybody's eyes: an address may hold a password.
            handle, beside = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(source), file, ensure_ascii=False)
            Path(beside).replace(self._folder / f"{name}.json")
        except OSError as error:
            log.warning("Where the model %s came from could not be kept: %s.", name, error)
