"""Models: their metadata, turns, and numbers for display."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from app.errors import ModelError
from app.models.engines import (
    CTRANSFORMERS,
    LLAMA_CPP,
    Engine,
    EngineChoice,
    EngineSetting,
    EngineSpeed,
    available_engines,
    choose_engine,
)
from app.models.gguf.kv_layout import Q8_0_SHARE, KvLayout
from app.models.gguf.weight_layout import WeightLayout
from app.models.parameters import Sampling
from app.models.text.thinking import Effort
from app.models.text.tools import ToolCall
from app.models.upstream import RemoteModel

# Numbers of weights and bytes, for display.


def format_parameters(number: int) -> str:
    """Format a number of weights for display: 135 M, 7.2 B."""
    if number >= 1_000_000_000:
        return f"{number / 1e9:.1f} B"
    return f"{number / 1e6:.0f} M" if number >= 1_000_000 else f"{number:,}"


def format_bytes(number: int) -> str:
    """Format bytes for display: 98 MB, 4.1 GB."""
    if number >= 10_000_000_000:
        return f"{number / 1e9:.0f} GB"
    return f"{number / 1e9:.1f} GB" if number >= 1_000_000_000 else f"{number / 1e6:,.0f} MB"


# What is known of a model, and the words in which it is spoken to.


Role = Literal["system", "user", "assistant", "tool"]
ModelKind = Literal["text", "embedding", "reranker"]


@dataclass(frozen=True, slots=True)
class TurnImage:
    """Picture of a message. id: SHA-256 of its file, in hex; path: that file, which Wick itself has
    encoded; width, height: its pixels; place: how many characters of the content stand before it;
    samples: of a sound, which then takes the place of a picture; its file is a WAV of 44 bytes
    before samples of 16 bits, at 16 kHz.
    """

    id: str
    path: str
    width: int
    height: int
    place: int = 0
    samples: int = 0

    @property
    def is_sound(self) -> bool:
        return self.samples > 0


@dataclass(frozen=True, slots=True)
class Turn:
    """Message of the conversation, as the model sees it.

    thought: what the model reasoned before an answer; its template decides whether it sees that
    again. images: its pictures in their order, for models that see. calls: of an answer, the tools
    that it called after its text. call_id, tool: of a tool's result, the call that it belongs to
    and the name of the tool. stays: it has a document, and leaves a full window last.
    """

    role: Role
    content: str
    thought: str = ""
    images: tuple[TurnImage, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    tool: str = ""
    stays: bool = False

    @property
    def is_tooling(self) -> bool:
        """Tell whether it calls tools, or has a result of one."""
        return bool(self.calls) or self.role == "tool"

    def behind(self, text: str) -> Turn:
        """The turn with a text before its content."""
        images = (replace(image, place=image.place + len(text)) for image in self.images)
        return replace(self, content=text + self.content, images=tuple(images))

    def followed_by(self, other: Turn, between: str) -> Turn:
        """The turn with another one's content, and calls, behind its own."""
        rest = other.behind(self.content + between)
        images, calls = (*self.images, *rest.images), (*self.calls, *rest.calls)
        stays = self.stays or other.stays
        return replace(self, content=rest.content, images=images, calls=calls, stays=stays)

    def end(self, characters: int) -> Turn:
        """The turn with only so many characters of its end, and all its pictures."""
        cut = len(self.content) - characters
        images = (replace(image, place=max(0, image.place - cut)) for image in self.images)
        return replace(self, content=self.content[cut:], images=tuple(images))


def join_turns(first: Turn, second: Turn) -> Turn:
    """Make one turn of two in the same role; pictures keep their places in the text."""
    separator = "\n\n" if first.content and second.content else ""
    begin = first.content + separator
    moved = tuple(replace(image, place=image.place + len(begin)) for image in second.images)
    thought, calls = second.thought or first.thought, (*first.calls, *second.calls)
    images, stays = (*first.images, *moved), first.stays or second.stays
    return Turn(first.role, begin + second.content, thought, images, calls, stays=stays)


def merge_system(turns: Sequence[Turn]) -> list[Turn]:
    """Merge system turns into the first question, for a model without a system role."""
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    merged = [turn for turn in turns if turn.role != "system"]
    if not system:
        return merged
    for index, turn in enumerate(merged):
        if turn.role == "user":
            merged[index] = turn.behind(f"{system}\n\n" if turn.content else system)
            return merged
    return [Turn("user", system), *merged]


@dataclass(frozen=True, slots=True)
class Projector:
    """File beside a model's weights that turns pictures, or sound, into what the model reads.

    file: its name in the model's folder; size: its bytes; digest: its SHA-256, in hex.
    """

    file: str
    size: int
    digest: str
    sees: bool = True
    hears: bool = False


MAX_GPU_LAYERS: Final = 10_000
GpuLayers = int | Literal["auto"]
"""Most layers that a GPU may hold; auto: all that fit."""


def parse_gpu_layers(text: str) -> GpuLayers | None:
    """Parse a number of layers or `auto`; None, for what Wick's setting says, of an empty text.

    Raises ModelError.
    """
    text = text.strip().lower()
    if text == "auto":
        return "auto"
    if text and not (text.isascii() and text.isdecimal() and int(text) <= MAX_GPU_LAYERS):
        raise ModelError(f"GPU layers must be auto or a number from 0 to {MAX_GPU_LAYERS:,}.")
    return int(text) if text else None


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings that a user has chosen for a model, kept beside it as `settings.json`.

    system_prompt: begins every chat with it; sampling: None takes what the authors recommend;
    context_length: tokens, None takes WICK_CONTEXT; template: the name of a chat template that
    Wick knows, None takes the file's own; engine: which one runs it; gpu_layers: how many of its
    layers a GPU may hold, None takes WICK_GPU_LAYERS; think, reasoning_effort,
    max_thought_tokens: whether, how much and how long it reasons before it answers.
    """

    system_prompt: str = ""
    sampling: Sampling | None = None
    context_length: int | None = None
    template: str | None = None
    engine: EngineSetting = "auto"
    think: bool | None = None
    reasoning_effort: Effort | None = None
    max_thought_tokens: int | None = None
    gpu_layers: GpuLayers | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """Model in the store, a folder: the files as they came, `vocabulary.json` and `tokenizer.json`,
    `model.json`; or `remote.json` for a model that other servers hold. Of such a one facts about
    weights are 0 or empty.

    parameters: number of weights; context_length: tokens it was trained for; size: bytes of its
    files; digest: SHA-256 of the file that was imported, in hex; kv_bytes_per_token: memory that
    one token of context takes, in bytes; sampling: what its authors recommend; settings: what the
    user has chosen instead.

    engines: those that can run it; files: the names of its files as they came, none where an
    earlier version of Wick kept only `model.gguf`, the copy that ctransformers loads; adapted_size:
    bytes of that copy, which is made when it is needed; tokenizer: whose reads its texts; kv: what
    its contexts take in detail; layout: bytes of its layers, None where an earlier version of Wick
    installed it; linked_from: the program whose files these are, empty for Wick's
    own; speeds: what was measured here; projector: what it sees pictures with, None for a model of
    texts alone. Its bytes are not in `size`.
    """

    name: str
    folder: Path
    title: str
    architecture: str
    parameters: int
    quantisation: str
    context_length: int
    size: int
    digest: str
    kv_bytes_per_token: int
    chat_template: str
    license: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    settings: ModelSettings = field(default_factory=ModelSettings)
    remote: RemoteModel | None = None
    engines: tuple[Engine, ...] = (CTRANSFORMERS,)
    files: tuple[str, ...] = ()
    adapted_size: int = 0
    kind: ModelKind = "text"
    tokenizer: Literal["wick", "llama.cpp"] = "wick"
    kv: KvLayout | None = None
    layout: WeightLayout | None = None
    linked_from: str = ""
    speeds: Mapping[Engine, EngineSpeed] = field(default_factory=dict)
    projector: Projector | None = None

    @property
    def sees(self) -> bool:
        """Tell whether it takes pictures, on the engine that it runs on."""
        if self.remote is not None:
            return self.remote.sees
        return self.projector is not None and self.projector.sees and self.engine == LLAMA_CPP

    @property
    def hears(self) -> bool:
        """Tell whether it takes sound, on the engine that it runs on."""
        return self.projector is not None and self.projector.hears and self.engine == LLAMA_CPP

    @property
    def takes_projector(self) -> bool:
        """Tell whether a projector can be put beside it: only llama.cpp uses one."""
        return LLAMA_CPP in self.runs_on() and self.kind == "text" and bool(self.files)

    @property
    def projector_path(self) -> Path | None:
        """File of its projector, where it has one."""
        return None if self.projector is None else self.folder / self.projector.file

    def runs_on(self) -> tuple[Engine, ...]:
        """The engines that can run it, installed here or not; none of a model elsewhere."""
        return () if self.remote is not None else self.engines

    def kv_bytes(self, kv_type: str, engine: str = "") -> int:
        """Bytes of one token of a context; `engine`: another one than its own.

        Only llama.cpp has another type than f16, and only where the model's heads fit it.
        """
        fits = self.kv is not None and self.kv.takes_q8_0
        if kv_type == "q8_0" and fits and (engine or self.engine) == LLAMA_CPP:
            return math.ceil(self.kv_bytes_per_token * Q8_0_SHARE)
        return self.kv_bytes_per_token

    @property
    def engine_choice(self) -> EngineChoice:
        """The engine that runs it, and why. Not of a model elsewhere."""
        return choose_engine(
            self.settings.engine,
            self.engines,
            self.parameters,
            self.speeds,
            available_engines(),
            sees=self.projector is not None,
        )

    @property
    def engine(self) -> Engine | Literal["remote"]:
        """Name of the engine for display and APIs: `ctransformers`, `llama.cpp` or `remote`."""
        return "remote" if self.remote is not None else self.engine_choice.engine

    @property
    def default_sampling(self) -> Sampling:
        """Return the sampling of answers unless a chat has its own."""
        return self.settings.sampling or self.sampling

    @property
    def metadata_path(self) -> Path:
        """File with its metadata, as old as its installation."""
        return self.folder / ("model.json" if self.remote is None else "remote.json")

    @property
    def weights_path(self) -> Path:
        """The copy for ctransformers, which need not be there: see `adapted.ensure_adapted`."""
        return self.folder / "model.gguf"

    @property
    def original_paths(self) -> list[Path]:
        """The files as they came, the first of which llama.cpp is given."""
        return [self.folder / name for name in self.files]

    @property
    def loaded_size(self) -> int:
        """Bytes of the weights that its engine loads, the projector's included."""
        if self.engine == CTRANSFORMERS and self.files:
            return self.adapted_size
        projector = self.projector if self.engine == LLAMA_CPP else None
        return self.size + (0 if projector is None else projector.size)
