"""Life of a model: its states, what may happen to it, and its status at one moment.

One table has what may happen in each state, and the state that follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.inference.protocol import Finished, Tier
from app.models.model import format_bytes


class ModelState(StrEnum):
    """State of a model. APIs and pages show `shown`, which is one of five."""

    IDLE = "idle"
    """Nothing is loaded."""
    LOADING = "loading"
    LOADING_TO_DRAIN = "loading to drain"
    """It loads, and is unloaded after what waits for it now, unless that is called off."""
    LOADING_TO_DRAIN_FOR_GOOD = "loading to drain for good"
    READY = "ready"
    """Loaded: it answers, or waits for requests."""
    DRAINING = "draining"
    """Loaded, and unloaded after what it was to answer by then, unless that is called off."""
    DRAINING_FOR_GOOD = "draining for good"
    UNLOADING = "unloading"
    """Its runner writes what it holds to the disk and ends."""
    FAILED = "failed"
    """Nothing is loaded, because the last load failed; the next request tries again."""
    BACKING_OFF = "backing off"
    """Nothing is loaded, because the last load failed; requests are refused for a while."""

    @property
    def shown(self) -> ModelState:
        """State that people and programs see: idle, loading, ready, unloading or failed."""
        return _SHOWN.get(self, self)

    @property
    def is_loaded(self) -> bool:
        """Tell whether there is a runner or the beginning of one, which holds memory."""
        return self.shown not in {ModelState.IDLE, ModelState.FAILED}

    @property
    def is_unload_due(self) -> bool:
        """Tell whether it is to be unloaded after what it has promised to answer."""
        return self in {
            ModelState.LOADING_TO_DRAIN,
            ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            ModelState.DRAINING,
            ModelState.DRAINING_FOR_GOOD,
        }


_SHOWN: Final[Mapping[ModelState, ModelState]] = MappingProxyType(
    {
        ModelState.LOADING_TO_DRAIN: ModelState.LOADING,
        ModelState.LOADING_TO_DRAIN_FOR_GOOD: ModelState.LOADING,
        ModelState.DRAINING: ModelState.READY,
        ModelState.DRAINING_FOR_GOOD: ModelState.READY,
        ModelState.BACKING_OFF: ModelState.FAILED,
    }
)


class LifeEvent(StrEnum):
    """Event in the life of a model. The first four are requests, which may come at any time."""

    UNLOAD = "unload"
    """Unload it after what runs and waits now; this may be called off."""
    UNLOAD_FOR_GOOD = "unload for good"
    KEEP = "keep"
    """Call an unload off, if it has not begun and is not for good."""
    RETRY = "retry"
    """Let the next request try to load it, whatever failed before: a pause is over."""

    LOAD = "load"
    """A load begins."""
    LOADED = "loaded"
    LOAD_ABANDONED = "load abandoned"
    """Nobody wants it any more."""
    LOAD_REFUSED = "load refused"
    """The load failed, and it costs nothing to try again."""
    LOAD_FAILED = "load failed"
    """The load failed, and trying again is dear."""
    DRAINED = "drained"
    """Nothing that was promised is left to answer: the unload begins."""
    RUNNER_ENDED = "runner ended"
    """Its runner was unloaded or died, or Wick stops."""


TRANSITIONS: Final[Mapping[ModelState, Mapping[LifeEvent, ModelState]]] = MappingProxyType(
    {
        ModelState.IDLE: {
            LifeEvent.UNLOAD: ModelState.IDLE,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.IDLE,
            LifeEvent.KEEP: ModelState.IDLE,
            LifeEvent.RETRY: ModelState.IDLE,
            LifeEvent.LOAD: ModelState.LOADING,
        },
        ModelState.LOADING: {
            LifeEvent.UNLOAD: ModelState.LOADING_TO_DRAIN,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            LifeEvent.KEEP: ModelState.LOADING,
            LifeEvent.RETRY: ModelState.LOADING,
            LifeEvent.LOADED: ModelState.READY,
            LifeEvent.LOAD_ABANDONED: ModelState.IDLE,
            LifeEvent.LOAD_REFUSED: ModelState.FAILED,
            LifeEvent.LOAD_FAILED: ModelState.BACKING_OFF,
        },
        ModelState.LOADING_TO_DRAIN: {
            LifeEvent.UNLOAD: ModelState.LOADING_TO_DRAIN,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            LifeEvent.KEEP: ModelState.LOADING,
            LifeEvent.RETRY: ModelState.LOADING_TO_DRAIN,
            LifeEvent.LOADED: ModelState.DRAINING,
            LifeEvent.LOAD_ABANDONED: ModelState.IDLE,
            LifeEvent.LOAD_REFUSED: ModelState.FAILED,
            LifeEvent.LOAD_FAILED: ModelState.BACKING_OFF,
        },
        ModelState.LOADING_TO_DRAIN_FOR_GOOD: {
            LifeEvent.UNLOAD: ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            LifeEvent.KEEP: ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            LifeEvent.RETRY: ModelState.LOADING_TO_DRAIN_FOR_GOOD,
            LifeEvent.LOADED: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.LOAD_ABANDONED: ModelState.IDLE,
            LifeEvent.LOAD_REFUSED: ModelState.FAILED,
            LifeEvent.LOAD_FAILED: ModelState.BACKING_OFF,
        },
        ModelState.READY: {
            LifeEvent.UNLOAD: ModelState.DRAINING,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.KEEP: ModelState.READY,
            LifeEvent.RETRY: ModelState.READY,
            LifeEvent.RUNNER_ENDED: ModelState.IDLE,
        },
        ModelState.DRAINING: {
            LifeEvent.UNLOAD: ModelState.DRAINING,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.KEEP: ModelState.READY,
            LifeEvent.RETRY: ModelState.DRAINING,
            LifeEvent.DRAINED: ModelState.UNLOADING,
            LifeEvent.RUNNER_ENDED: ModelState.IDLE,
        },
        ModelState.DRAINING_FOR_GOOD: {
            LifeEvent.UNLOAD: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.KEEP: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.RETRY: ModelState.DRAINING_FOR_GOOD,
            LifeEvent.DRAINED: ModelState.UNLOADING,
            LifeEvent.RUNNER_ENDED: ModelState.IDLE,
        },
        ModelState.UNLOADING: {
            LifeEvent.UNLOAD: ModelState.UNLOADING,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.UNLOADING,
            LifeEvent.KEEP: ModelState.UNLOADING,
            LifeEvent.RETRY: ModelState.UNLOADING,
            LifeEvent.RUNNER_ENDED: ModelState.IDLE,
        },
        ModelState.FAILED: {
            LifeEvent.UNLOAD: ModelState.FAILED,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.FAILED,
            LifeEvent.KEEP: ModelState.FAILED,
            LifeEvent.RETRY: ModelState.FAILED,
            LifeEvent.LOAD: ModelState.LOADING,
        },
        ModelState.BACKING_OFF: {
            LifeEvent.UNLOAD: ModelState.BACKING_OFF,
            LifeEvent.UNLOAD_FOR_GOOD: ModelState.BACKING_OFF,
            LifeEvent.KEEP: ModelState.BACKING_OFF,
            LifeEvent.RETRY: ModelState.FAILED,
            LifeEvent.LOAD: ModelState.LOADING,
        },
    }
)
"""All that may happen in each state, and the state that follows."""


class IllegalTransition(AssertionError):
    """An event that the table does not have there: a fault of the program, never of a user."""


def next_state(current: ModelState, event: LifeEvent) -> ModelState:
    """Look up what follows. Raises IllegalTransition where the table has no such event."""
    try:
        return TRANSITIONS[current][event]
    except KeyError:
        message = f"“{event}” cannot happen to a model that is {current}."
        raise IllegalTransition(message) from None


@dataclass(slots=True)
class CacheStats:
    """Counts of how often the KV cache spared work.

    requests, tokens: by the tier that a prompt's beginning came from; evaluated: prompt tokens
    that had to be read all the same.
    """

    requests: Counter[Tier] = field(default_factory=Counter)
    tokens: Counter[Tier] = field(default_factory=Counter)
    evaluated: int = 0

    def count(self, finished: Finished) -> None:
        if not finished.prompt_tokens:
            return  # it ended before its prompt was made
        self.requests[finished.tier] += 1
        self.tokens[finished.tier] += finished.cached_tokens
        self.evaluated += finished.prompt_tokens - finished.cached_tokens


@dataclass(frozen=True, slots=True)
class GpuStatus:
    """Layers of a loaded model on GPUs: `layers` of `total`. devices: bytes on each, by its name;
    titles: what the devices are called; note: why it is fewer than were asked for, as a sentence.
    """

    layers: int
    total: int
    devices: dict[str, int]
    titles: tuple[str, ...]
    note: str = ""

    @property
    def line(self) -> str:
        """Sum up in words, such as “24 of 37 layers on NVIDIA RTX 4060, 3.1 GB”."""
        if not self.layers:
            return "On the CPU"
        count = "All" if self.layers >= self.total else f"{self.layers} of"
        size = format_bytes(sum(self.devices.values()))
        return f"{count} {self.total} layers on {' and '.join(self.titles)}, {size}"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker at one moment, for pages: figures only, nobody's words.

    state: as it is shown; idle and failed mean that nothing is loaded; error: why the last load
    failed. running of `slots` answers are being written; waiting: requests in line; answered: since
    the start of Wick; tokens_per_second: of the latest answers, each; context_length in tokens;
    hits: how the KV cache did. memory: bytes set aside for it, 0 when nothing is loaded; spare:
    bytes beyond those that it may keep chats in until another model needs them; load_progress: 0 to
    1 while the engine tells; detail: what a load is waiting for or doing; idle_since: seconds by
    the worker's clock; unloads_in: seconds, None when it will stay. gpu:
    layers on GPUs, None where there is none or nothing is loaded.
    """

    name: str
    state: ModelState
    pid: int | None
    slots: int
    running: int
    waiting: int
    answered: int
    context_length: int
    tokens_per_second: float | None
    hits: CacheStats
    error: str | None = None
    memory: int = 0
    spare: int = 0
    load_progress: float | None = None
    detail: str | None = None
    idle_since: float | None = None
    unloads_in: float | None = None
    gpu: GpuStatus | None = None
