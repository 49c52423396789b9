"""Plans of parts: where, with which seed, and how much."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from app.models.store import ModelStore
from tests.tiny_gguf import write_tiny_gguf

MODEL: Final = "tiny"
CONTEXT: Final = 32_768


@dataclass(frozen=True)
class Plan:
    """Plan of one part.

    folder: empty, for all its files; rounds: how often, None for as often as the part is worth;
    minutes: after which no round begins.
    """

    folder: Path
    seed: int
    rounds: int | None = None
    minutes: float | None = None
    began: float = field(default_factory=time.monotonic)

    @cached_property
    def chance(self) -> random.Random:
        return random.Random(self.seed)

    @cached_property
    def models(self) -> Path:
        """Make a models folder with the tiny model, which talks nonsense and does not stop."""
        source = write_tiny_gguf(self.folder / "tiny.gguf", context_length=CONTEXT)
        ModelStore(self.folder / "models").install(source, MODEL)
        return self.folder / "models"

    def make_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder

    def numbers(self, usual: int) -> Iterator[int]:
        """Count the rounds, `usual` of them unless the plan says otherwise."""
        for number in range(1, (self.rounds or usual) + 1):
            if self.is_over():
                return
            yield number

    def is_over(self) -> bool:
        return self.minutes is not None and time.monotonic() - self.began > self.minutes * 60
