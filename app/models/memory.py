"""Memory that a model needs and memory there is: the one place for this arithmetic."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from app.config import KvType, Settings
from app.errors import ModelTooLarge
from app.models.catalogue import CatalogueEntry
from app.models.model import Model

OVERHEAD_BYTES: Final = 192 << 20
"""Bytes that a runner takes beside weights and contexts: Python, its tokenizer, work buffers.
Measured: 185 MB with SmolLM2 135M and four answers at once."""
MAX_MEMORY_SHARE: Final = 0.75
"""Of the machine's memory that all models together may take, unless WICK_MODEL_MEMORY_MB says."""
PICTURE_BYTES: Final = 256 << 20
"""Bytes that a model that sees takes beside its projector: pictures that are cut up, what was made
of them lately, and work buffers."""
_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")


AUTO_CONTEXTS: Final = (32_768, 16_384, 8_192, 4_096)
"""Tokens of a context that Wick chooses among, where nobody has chosen."""
AUTO_ANSWERS: Final = 2
"""Answers at once that must have room for a context to be chosen."""


def context_length(model: Model, settings: Settings) -> int:
    """Return the tokens of one context: the model's setting, else Wick's, at most its own maximum.

    The window of a remote model costs no memory here, so WICK_CONTEXT does not limit it.
    """
    if model.remote is not None:
        chosen = model.settings.context_length or model.context_length
        return max(1, min(chosen, model.context_length))
    chosen = model.settings.context_length or settings.context
    if not chosen:
        chosen = auto_context(model.loaded_size, model.kv_bytes(settings.kv_type), settings)
    return max(1, min(chosen, model.context_length))


def auto_context(size: int, kv_bytes_per_token: int, settings: Settings) -> int:
    """The longest context of which two fit the memory beside weights of `size` bytes, in tokens.

    It takes no more of it than WICK_KV_MEMORY_MB, and is no shorter than 4,096 tokens.
    """
    room = min(settings.kv_memory_mb << 20, budget(settings) - size - OVERHEAD_BYTES)
    fitting = (n for n in AUTO_CONTEXTS if AUTO_ANSWERS * n * kv_bytes_per_token <= room)
    return next(fitting, AUTO_CONTEXTS[-1])


def slots(model: Model, settings: Settings) -> int:
    """Count the concurrent answers that WICK_SLOTS and WICK_KV_MEMORY_MB allow; at least one."""
    if model.kind != "text":
        return 1  # several texts share one context
    each = context_length(model, settings) * model.kv_bytes(settings.kv_type)
    return max(1, min(settings.slots, (settings.kv_memory_mb << 20) // max(1, each)))


def required_bytes(model: Model, context: int, slots: int, kv_type: KvType = "f16") -> int:
    """Compute the bytes of a loaded model with `slots` full contexts of `context` tokens."""
    if model.remote is not None:
        return 0
    kv = model.kv_bytes(kv_type) * context + (model.kv.state_bytes if model.kv else 0)
    contexts = slots if model.kind == "text" else 1
    seen = PICTURE_BYTES if model.sees or model.hears else 0
    return model.loaded_size + kv * contexts + OVERHEAD_BYTES + seen


def host_bytes(model: Model) -> int:
    """Compute the bytes that stay in main memory wherever its layers are, those of its input layer
    aside."""
    if not (model.sees or model.hears) or model.projector is None:
        return OVERHEAD_BYTES
    return OVERHEAD_BYTES + PICTURE_BYTES + model.projector.size


def preferred_bytes(model: Model, settings: Settings) -> int:
    """Compute its bytes with as many slots as fit the budget, or with one if none do."""
    context = context_length(model, settings)
    counts = range(slots(model, settings), 0, -1)
    sizes = [required_bytes(model, context, count, settings.kv_type) for count in counts]
    return next((size for size in sizes if size <= budget(settings)), sizes[-1])


def entry_context(entry: CatalogueEntry, settings: Settings) -> int:
    """Tokens of one context that a model to download would have."""
    chosen = settings.context or auto_context(entry.size, entry.kv_bytes, settings)
    return min(chosen, entry.context)


def entry_bytes(entry: CatalogueEntry, settings: Settings) -> int:
    """Bytes of memory that a model to download would take, for one answer at a time."""
    seen = PICTURE_BYTES if entry.sees else 0
    return entry.size + entry.kv_bytes * entry_context(entry, settings) + OVERHEAD_BYTES + seen


def budget(settings: Settings) -> int:
    """Bytes that all loaded models together may take."""
    return settings.model_memory_mb << 20 or int(total_memory() * MAX_MEMORY_SHARE)


@cache
def total_memory() -> int:
    """Bytes of memory this process may use: the machine's, or less in a container.

    Read once: a page asks for it a hundred times.
    """
    return min([_total(), *limits(_CGROUPS, _OWN_CGROUP)])


def _total() -> int:
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import psutil  # here and not above: it takes a while to load

    total: int = psutil.virtual_memory().total
    return total


def limits(cgroups: Path, own: Path) -> Iterator[int]:
    """Read the memory limits of the control groups of the process named in `own`, in bytes."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:  # version 2: one tree for everything, limits of all parents count
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for folder in (path, *path.parents):
            try:
                yield int((root / folder / name).read_text())
            except (OSError, ValueError):  # not visible from in here, or `max`
                continue


def check_fits(model: Model, settings: Settings, budget: int) -> None:
    """Raises ModelTooLarge when the model does not fit even alone with one slot."""
    context = context_length(model, settings)
    least = required_bytes(model, context, 1, settings.kv_type)
    if least > budget:
        raise ModelTooLarge(
            f"{model.title} is too large for this machine: with one chat of {context:,} tokens it "
            f"needs {least / 1e6:,.0f} MB of memory, and models may use {budget / 1e6:,.0f} MB of "
            f"the {total_memory() / 1e6:,.0f} MB there are."
        )
