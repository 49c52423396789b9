"""Puts the parts of a runner together: one model, one engine, one scheduler."""

from __future__ import annotations

import functools
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import ModelLoadError
from app.inference.grammar import Grammars
from app.inference.kv import ContextPool, pool_size
from app.inference.kv_disk import DiskSnapshots
from app.inference.llama_cpp_engine import LlamaCppEngine
from app.inference.pacing import Pacer
from app.inference.permits import open_permits
from app.inference.prompts import Prompts
from app.inference.protocol import Event, LoadProgress
from app.inference.remembered import RememberingTokenizer
from app.inference.scheduler import Scheduler
from app.inference.sequence import Room
from app.inference.snapshot import Origin
from app.inference.snapshots import model_key
from app.models.model import Model
from app.models.model_files import load_model
from app.models.template import ChatTemplate
from app.models.template_names import template_of
from app.models.tokenizer import Tokenizer

PROGRESS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Assembly:
    """A model at work. `slots`: requests at once; `context_length` in tokens."""

    scheduler: Scheduler
    contexts: ContextPool
    slots: int
    context_length: int

    def bound(self, contexts: int, ram_mb: int) -> None:
        """Keep no more than that. Without waiting: the next command may be somebody's Stop."""
        wish = (contexts, ram_mb << 20)
        threading.Thread(target=self.contexts.bound, args=wish, name="bound", daemon=True).start()

    def quit(self, seconds: float) -> None:
        """Stop all work and write states to the disk, for about that time."""
        end = time.monotonic() + seconds
        self.scheduler.close(seconds / 2)
        self.contexts.save_all(end - time.monotonic())


def assemble(options: Namespace, emit: Callable[[Event], None]) -> Assembly:
    """The parts of a runner, by its command line.

    Raises ModelError when the model cannot be loaded.
    """
    model = load_model(options.model)
    context_length = max(1, min(options.context, model.context_length))
    tokenizer = RememberingTokenizer.load(model.folder)
    progress = Steadily(lambda done: emit(LoadProgress(round(done, 3))))
    engine = LlamaCppEngine(model.weights, context_length, progress)
    if engine.vocab_size != tokenizer.vocab_size:
        raise ModelLoadError("The model's weights and its tokenizer do not belong together.")
    size = pool_size(options.kv_mb << 20, context_length, model.kv_bytes_per_token)
    permits = open_permits(options.permits, options.threads)
    permit = functools.partial(permits.take, 1)

    def template(spelling: Tokenizer) -> ChatTemplate:
        return ChatTemplate(template_of(model), spelling, most=context_length, permit=permit)

    contexts = ContextPool(
        engine,
        size,
        ram_budget=options.kv_ram_mb << 20,
        disk=_disk(options, model, engine),
        permit=permit,
    )
    room = Room(
        contexts,
        context_length,
        tokenizer,
        Pacer(options.threads),
        Grammars(tokenizer, permit),
        gather=options.gather_ms / 1000,
    )

    exact = functools.cache(lambda: template(tokenizer.forgetful()))
    prompts = Prompts(template(tokenizer), tokenizer, contexts, context_length, exact)
    slots = max(1, min(options.slots, size))
    scheduler = Scheduler(room, prompts.make, emit, permits, slots=slots, threads=options.threads)
    return Assembly(scheduler, contexts, slots, context_length)


class Steadily:
    """Passes figures on, one in `seconds` at most and none in the first: quick loads are silent."""

    def __init__(
        self,
        tell: Callable[[float], None],
        *,
        seconds: float = PROGRESS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._seconds = seconds
        self._clock = clock
        self._told = clock()

    def __call__(self, done: float) -> None:
        if (now := self._clock()) - self._told >= self._seconds:
            self._told = now
            self._tell(done)


def _disk(options: Namespace, model: Model, engine: LlamaCppEngine) -> DiskSnapshots | None:
    if not options.kv_disk_mb or options.kv_folder is None:
        return None
    key = model_key(model.digest, model.size)
    origin = Origin(key, engine.identity, engine.context_length)
    return DiskSnapshots(options.kv_folder, origin, engine, options.kv_disk_mb << 20)
