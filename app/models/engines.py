"""The two engines for models of this machine, and which of them a model runs on."""

from __future__ import annotations

import functools
import importlib.util
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Engine = Literal["ctransformers", "llama.cpp"]
EngineSetting = Literal["auto", "ctransformers", "llama.cpp"]
NativeUse = Literal["never", "if needed", "if quicker"]
"""When llama.cpp's tokenizer stands in for Wick's own."""
CTRANSFORMERS: Final = "ctransformers"
LLAMA_CPP: Final = "llama.cpp"
ENGINES: Final[tuple[Engine, ...]] = (CTRANSFORMERS, LLAMA_CPP)
ENGINE_SETTINGS: Final[tuple[EngineSetting, ...]] = ("auto", *ENGINES)
PACKAGES: Final[dict[Engine, str]] = {CTRANSFORMERS: "ctransformers", LLAMA_CPP: "xllamacpp"}
"""The Python packages that bring their libraries."""
SMALL_PARAMETERS: Final = 500_000_000
"""Up to so many weights ctransformers is usually the faster one, beyond them llama.cpp."""
PROMPT_TOKENS: Final = 256
ANSWER_TOKENS: Final = 256
"""Tokens that a turn of a chat reads and writes: by them the speeds of an engine are weighed."""


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Speed of a model on this computer, in tokens per second: of one answer (`decode`), and of a
    prompt while it is read (`prompt`).
    """

    decode: float
    prompt: float

    @property
    def is_sound(self) -> bool:
        return 0 < self.decode < math.inf and 0 < self.prompt < math.inf

    @property
    def seconds_per_turn(self) -> float:
        return PROMPT_TOKENS / self.prompt + ANSWER_TOKENS / self.decode


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """reason: why it is this one, as it follows a colon."""

    engine: Engine
    reason: str


def available_engines() -> tuple[Engine, ...]:
    """The engines whose library is installed. That it also starts is seen when it is loaded."""
    return installed_engines()


@functools.cache
def installed_engines() -> tuple[Engine, ...]:
    """Find the installed engines once, and keep the result."""
    found: list[Engine] = []
    if _has_ctransformers():
        found.append(CTRANSFORMERS)
    if importlib.util.find_spec(PACKAGES[LLAMA_CPP]) is not None:
        found.append(LLAMA_CPP)
    return tuple(found)


def _has_ctransformers() -> bool:
    """Tell whether ctransformers brings a library: it has those for x86-64, and for Macs of both
    kinds.
    """
    spec = importlib.util.find_spec(PACKAGES[CTRANSFORMERS])
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / "lib").is_dir():
        return False
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return is_x86 or platform.system() == "Darwin"


def choose_engine(
    setting: EngineSetting,
    runs_on: Sequence[Engine],
    parameters: int,
    speeds: Mapping[Engine, EngineSpeed],
    available: Sequence[Engine],
    *,
    sees: bool = False,
) -> EngineChoice:
    """runs_on: the engines that can run the file, at least one; speeds: what was measured; sees:
    whether it has a projector for pictures, which only llama.cpp can use."""
    usable = [engine for engine in runs_on if engine in available]
    if not usable:
        return EngineChoice(runs_on[0], "it is not installed here")
    if setting != "auto" and setting in usable:
        return EngineChoice(setting, "you chose it")
    if len(usable) == 1:
        return EngineChoice(usable[0], _only_reason(setting, usable[0], runs_on))
    if sees:
        return EngineChoice(LLAMA_CPP, "only llama.cpp shows it pictures")
    return _faster(parameters, speeds)


def _only_reason(setting: EngineSetting, engine: Engine, runs_on: Sequence[Engine]) -> str:
    other = next(each for each in ENGINES if each != engine)
    if other not in runs_on:
        return (
            f"{other}, which you chose, can't run it"
            if setting == other
            else (f"{other} can't run it")
        )
    return f"{other} is not installed here"


def _faster(parameters: int, speeds: Mapping[Engine, EngineSpeed]) -> EngineChoice:
    if all(engine in speeds for engine in ENGINES):
        first, second = sorted(ENGINES, key=lambda engine: speeds[engine].seconds_per_turn)
        return EngineChoice(
            first,
            f"faster here overall, with {speeds[first].decode:,.0f} tokens per second against "
            f"{speeds[second].decode:,.0f}, and {speeds[first].prompt:,.0f} against "
            f"{speeds[second].prompt:,.0f} in prompts",
        )
    if parameters <= SMALL_PARAMETERS:
        return EngineChoice(CTRANSFORMERS, "usually faster with models this small")
    return EngineChoice(LLAMA_CPP, "usually faster with models of this size")
