"""Puts the parts of a runner together: one model, one engine, one scheduler."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from app.errors import ModelLoadError
from app.inference.kv import ContextPool, pool_size
from app.inference.llama_cpp_engine import LlamaCppEngine
from app.inference.pacing import Pacer
from app.inference.permits import open_permits
from app.inference.protocol import Event, Generate
from app.inference.remembered import RememberingTokenizer
from app.inference.scheduler import Scheduler
from app.inference.sequence import Room
from app.inference.window import Fitted, fit, reserve
from app.models.shelf import load_model
from app.models.template import ChatTemplate


def assemble(options: Namespace, emit: Callable[[Event], None]) -> tuple[Scheduler, int, int]:
    """The scheduler, its slots, and the context length, for a runner's command line.

    Raises ModelError when the model cannot be loaded.
    """
    model = load_model(options.model)
    context_length = max(1, min(options.context, model.context_length))
    tokenizer = RememberingTokenizer.load(model.folder)
    template = ChatTemplate(model.chat_template, tokenizer)
    engine = LlamaCppEngine(model.weights, context_length)
    if engine.vocab_size != tokenizer.vocab_size:
        raise ModelLoadError("The model's weights and its tokenizer do not belong together.")
    size = pool_size(options.kv_mb << 20, context_length, model.kv_bytes_per_token)
    contexts = ContextPool(engine, size)
    room = Room(contexts, context_length, tokenizer, Pacer(options.threads))

    def prepare(request: Generate) -> Fitted:
        limit = context_length - reserve(request.max_tokens, context_length)
        return fit(request.turns, template.encode, limit)

    slots = max(1, min(options.slots, size))
    permits = open_permits(options.permits, options.threads)
    scheduler = Scheduler(room, prepare, emit, permits, slots=slots, threads=options.threads)
    return scheduler, slots, context_length
