"""What is shown of a model, in the words and numbers of people."""

from __future__ import annotations

from dataclasses import dataclass

from app.inference.status import WorkerStatus
from app.models.progress import PullProgress


@dataclass(frozen=True, slots=True)
class Card:
    """One model of the shelf. `facts`: names and values; `line`: its state in words.

    progress: percent while it is being loaded, if that is known; tight: it needs more memory than
    models may use; promise: whether what is written to it stays here, of a remote model.
    """

    name: str
    title: str
    facts: tuple[tuple[str, str], ...]
    state: str
    line: str
    error: str
    progress: int | None
    is_default: bool
    is_tight: bool
    is_remote: bool = False
    privacy_note: str = ""

    @property
    def key(self) -> str:
        """Its name, as part of an element's id."""
        return element_key(self.name)


def describe_state(worker: WorkerStatus | None) -> str:
    """What a model is doing, in words."""
    match worker.state if worker is not None else "idle":
        case "loading":
            done = worker.load_progress if worker is not None else None
            detail = (worker.detail or "") if worker is not None else ""
            if done is not None:
                return f"Loading {100 * done:.0f} %"
            return "Loading" if detail.startswith("Loading") else detail or "Loading"
        case "ready" if worker is not None and worker.running:
            return f"Ready, writing {worker.running} answer{'s' if worker.running > 1 else ''}"
        case "ready":
            return "Ready"
        case "unloading":
            return "Leaving the memory"
        case "failed":
            return "Could not be loaded"
        case _:
            return "Not loaded"


def describe_readiness(worker: WorkerStatus | None) -> str:
    """What choosing a model means, in a word or two."""
    match worker.state if worker is not None else "idle":
        case "loading" if worker is not None and worker.load_progress is not None:
            return f"loading {100 * worker.load_progress:.0f} %"
        case "loading":
            return "loading"
        case "ready":
            return "ready"
        case "failed":
            return "could not be loaded"
        case _:
            return "will load"


def describe_progress(progress: PullProgress) -> str:
    """How far a model is on its way, in a word or two."""
    if not progress.total:
        return progress.stage
    return f"{progress.stage} {100 * progress.done // progress.total} %"


def element_key(name: str) -> str:
    """A model's name as part of an element's id: names have no capital letters, ids no dots."""
    return name.replace(".", "D")
