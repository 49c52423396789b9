"""Builds the parts of a runner: one model, one engine, one scheduler."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.errors import ModelLoadError
from app.inference.kv_files import model_key
from app.inference.protocol import MAX_CONCURRENT_TEXTS, Event, LoadProgress
from app.inference.runner.calling import Calling
from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.inference.runner.engines.engine import Engine
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.engines.mtmd_native import ProjectorError
from app.inference.runner.engines.placement import LoadedLayers
from app.inference.runner.grammar import Grammars
from app.inference.runner.kv.cache import KvCache, pool_size
from app.inference.runner.kv.disk import DiskSnapshots
from app.inference.runner.kv.snapshot import SnapshotKey
from app.inference.runner.pictures.encoder import BlindEncoder, PictureEncoder
from app.inference.runner.pictures.trial import ensure_usable
from app.inference.runner.prompt import PromptBuilder
from app.inference.runner.relevance import RelevanceHead
from app.inference.runner.scheduler import Scheduler
from app.inference.runner.sequence import RunnerContext, Thinking
from app.inference.runner.steps import GATHERED_TOKENS
from app.inference.runner.text_encoder import TextEncoder
from app.inference.runner.threads import ThreadTuner, open_permits
from app.inference.runner.token_memory import StableTokenizer
from app.models.adapted import ensure_adapted
from app.models.engines import CTRANSFORMERS
from app.models.model import Model
from app.models.model_files import load_model
from app.models.text.builtin_templates import template_of
from app.models.text.chat_template import ChatTemplate
from app.models.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
SHARED_CONTEXTS = 32
"""Contexts that share one pool of cells: an idle one takes no more than what it holds,"""
RECURRENT_SPARE = 2
"""but each has a whole state of its own in a recurrent model."""


@dataclass(frozen=True, slots=True)
class ModelRuntime:
    """Loaded model with its scheduler. `slots`: requests at a time; `context_length` in tokens."""

    scheduler: Scheduler
    contexts: KvCache
    slots: int
    context_length: int
    loaded_layers: LoadedLayers

    def set_limits(self, contexts: int, ram_mb: int) -> None:
        """Limit contexts and RAM without waiting: the next command may be a user's Stop."""
        if self.contexts.engine.max_slices > 1:
            contexts = self.contexts.engine.max_contexts  # their memory was taken at the start
        memory = (contexts, ram_mb << 20)
        threading.Thread(
            target=self.contexts.set_limits, args=memory, name="bound", daemon=True
        ).start()

    def shutdown(self, seconds: float) -> None:
        """Stop all work and write states to the disk, for about `seconds`."""
        end = time.monotonic() + seconds
        self.scheduler.close(seconds / 2)
        self.contexts.save_all(end - time.monotonic())


def build_runtime(options: Namespace, emit: Callable[[Event], None]) -> ModelRuntime:
    """Build the parts of a runner from its command line.

    Raises ModelError when the model cannot be loaded.
    """
    model = load_model(options.model)
    if model.kind != "text":
        return _build_search_runtime(options, model, emit)
    context_length = max(1, min(options.context, model.context_length))
    progress = ThrottledCallback(lambda done: emit(LoadProgress(round(done, 3))))
    each = model.kv_bytes(options.kv_type, _engine_name(options, model))
    size = pool_size(options.kv_mb << 20, context_length, each)
    slots = max(1, min(options.slots, size))
    engine = _open_engine(options, model, context_length, slots, progress)
    native = engine if isinstance(engine, LlamaCppEngine) else None
    tokenizer = _load_tokenizer(model, engine, native)
    loaded_layers = native.loaded_layers if native is not None else LoadedLayers()
    threads = _threads(options, loaded_layers)
    permits = open_permits(options.permits, options.threads)
    permit = functools.partial(permits.acquire, 1)

    pictures = _open_pictures(model, native)
    show = None if pictures is None else pictures.ids

    def template(spelling: Tokenizer) -> ChatTemplate:
        return ChatTemplate(
            template_of(model), spelling, most=context_length, permit=permit, pictures=show
        )

    contexts = KvCache(
        engine,
        engine.max_contexts if engine.max_slices > 1 else size,
        ram_budget=options.kv_ram_mb << 20,
        disk=_disk(options, model, engine),
        permit=permit,
    )
    chat_template = template(tokenizer)
    room = RunnerContext(
        contexts,
        context_length,
        tokenizer,
        ThreadTuner(threads),
        Grammars(tokenizer, permit),
        min_delta_interval=options.gather_ms / 1000,
        thinking=_thinking(chat_template, tokenizer),
        calling=_calling(chat_template, tokenizer),
        pictures=pictures if isinstance(pictures, PictureEncoder) else None,
    )

    exact = functools.cache(lambda: template(tokenizer.forgetful()))
    prompts = PromptBuilder(chat_template, tokenizer, contexts, context_length, exact)
    scheduler = Scheduler(room, prompts.build, emit, permits, slots=slots, threads=threads)
    return ModelRuntime(scheduler, contexts, slots, context_length, loaded_layers)


def _build_search_runtime(
    options: Namespace, model: Model, emit: Callable[[Event], None]
) -> ModelRuntime:
    """Build the runner of a model that makes numbers of texts. It keeps nothing of what it read."""
    context_length = max(1, min(options.context, model.context_length))
    engine = LlamaCppEngine(
        _weights(model),
        context_length,
        ThrottledCallback(lambda done: emit(LoadProgress(round(done, 3)))),
        contexts=MAX_CONCURRENT_TEXTS,
        cells=context_length + GATHERED_TOKENS,  # one text is read in part, beside a whole step
        kv_type=options.kv_type,
        placement=options.gpu,
    )
    tokenizer = _load_tokenizer(model, engine, engine)
    permits = open_permits(options.permits, options.threads)
    permit = functools.partial(permits.acquire, 1)
    threads = _threads(options, engine.loaded_layers)
    template = engine.native.template("rerank") if model.kind == "reranker" else ""
    marks, context_length = engine.native.marks(), engine.context_length
    encoder = TextEncoder(tokenizer, marks, context_length, template, permit)
    contexts = KvCache(engine, engine.max_contexts, permit=permit)
    room = RunnerContext(
        contexts,
        context_length,
        tokenizer,
        ThreadTuner(threads),
        is_stateless=True,
        relevance=_relevance(model, engine, tokenizer),
    )
    slots = MAX_CONCURRENT_TEXTS
    scheduler = Scheduler(room, encoder.build, emit, permits, slots=slots, threads=threads)
    return ModelRuntime(scheduler, contexts, slots, context_length, engine.loaded_layers)


def _open_pictures(
    model: Model, native: LlamaCppEngine | None
) -> PictureEncoder | BlindEncoder | None:
    """Open what the model sees pictures with; without it, it still answers to texts."""
    path = model.projector_path
    if native is None or model.projector is None or path is None:
        return None
    try:
        ensure_usable(_weights(model), path, model.projector)
        return PictureEncoder.open(path, model.projector, native.native)
    except ProjectorError as error:
        log.warning("%s sees no pictures: %s", model.title, error)
        return BlindEncoder(str(error))


def _weights(model: Model) -> Path:
    """The file that llama.cpp loads."""
    return next(iter(model.original_paths), model.weights_path)


def _relevance(
    model: Model, engine: LlamaCppEngine, tokenizer: StableTokenizer
) -> RelevanceHead | None:
    if model.kind != "reranker":
        return None
    return RelevanceHead() if engine.native.is_pooled else RelevanceHead.by_next_word(tokenizer)


def _load_tokenizer(model: Model, engine: Engine, native: LlamaCppEngine | None) -> StableTokenizer:
    """Raises ModelLoadError where it is another model's."""
    tokenizer = StableTokenizer.load(model.folder, native)
    if engine.vocab_size != tokenizer.vocab_size:
        raise ModelLoadError("The model's weights and its tokenizer do not belong together.")
    return tokenizer


def _engine_name(options: Namespace, model: Model) -> str:
    return str(model.engine if options.engine == "auto" else options.engine)


def _open_engine(
    options: Namespace,
    model: Model,
    context_length: int,
    slots: int,
    progress: Callable[[float], None],
) -> Engine:
    if _engine_name(options, model) == CTRANSFORMERS:
        return CtransformersEngine(ensure_adapted(model), context_length, progress)
    is_recurrent = model.kv is not None and model.kv.is_recurrent
    return LlamaCppEngine(
        _weights(model),
        context_length,
        progress,
        contexts=slots + RECURRENT_SPARE if is_recurrent else max(slots, SHARED_CONTEXTS),
        cells=slots * context_length,
        kv_type=options.kv_type,
        placement=options.gpu,
    )


def _threads(options: Namespace, loaded: LoadedLayers) -> int:
    """Threads of a step: a CPU that computes no layer only hands numbers over."""
    return 1 if loaded.is_whole else int(options.threads)


def _thinking(template: ChatTemplate, tokenizer: Tokenizer) -> Thinking | None:
    known = template.thinking
    if known is None:
        return None
    parts = [part for marker in known.markers for part in tokenizer.split_special_tokens(marker)]
    special = {
        part: tokenizer.special_text(part).encode() for part in parts if isinstance(part, int)
    }
    return Thinking(known, special, tuple(template.closing_ids()))


def _calling(template: ChatTemplate, tokenizer: Tokenizer) -> Calling:
    known = template.tool_format
    split = tokenizer.split_special_tokens
    parts = [
        part for marker in (*known.markers, *known.literals, known.forced) for part in split(marker)
    ]
    special = {
        part: tokenizer.special_text(part).encode() for part in parts if isinstance(part, int)
    }

    def encoded(text: str) -> tuple[int, ...]:
        encode = tokenizer.encode_continuation
        parts = ([part] if isinstance(part, int) else encode(part) for part in split(text))
        return tuple(itertools.chain.from_iterable(parts))

    ends = tuple(map(encoded, known.text_ends))
    return Calling(known, special, encoded(known.forced or known.marker), ends, tokenizer)


class ThrottledCallback:
    """Callback at most once in `seconds` and not in the first: quick loads are silent."""

    def __init__(
        self,
        notify: Callable[[float], None],
        *,
        seconds: float = PROGRESS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callback = notify
        self._seconds = seconds
        self._clock = clock
        self._called_at = clock()

    def __call__(self, done: float) -> None:
        if (now := self._clock()) - self._called_at >= self._seconds:
            self._called_at = now
            self._callback(done)


def _disk(options: Namespace, model: Model, engine: Engine) -> DiskSnapshots | None:
    if not options.kv_disk_mb or options.kv_folder is None:
        return None
    key = model_key(model.digest, model.size)
    origin = SnapshotKey(key, engine.identity, engine.context_length)
    return DiskSnapshots(
        *(options.kv_folder, origin, engine, options.kv_disk_mb << 20),
        keep_free=options.keep_free_mb << 20,
    )
